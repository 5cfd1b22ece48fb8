// One way in: from options to a dataset and its split.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/dataset.h"
#include "data/images/transform.h"
#include "data/leakage.h"
#include "data/readers/csv_folder.h"
#include "data/splits.h"
#include "data/text/tokenizer.h"

namespace medfusion::data {

inline constexpr std::array kDataFormats{"nih", "phantom", "csv", "medmnist", "none"};
enum class DataFormat : uint8_t {
  nih,
  phantom,  // the layout of nih, without labels that it does not plant
  csv,
  medmnist,
  none,
};
constexpr core::Names names_of(DataFormat) { return kDataFormats; }

struct DataOptions : CsvColumns {  // whose table, keep_constant and read_images other formats use as well
  DataFormat format = DataFormat::nih;
  std::string root;
  std::string images;
  std::vector<std::string> labels;
  std::string labels_file;
  int64_t label_count = 0;
  int64_t min_positives = 0;
  bool shuffle_labels = false;
  SplitOptions split;
  ImageFormat image;
  int64_t cache_megabytes = 1024;
  std::vector<std::string> log_columns;
  std::string extra_table;
  TextOptions text;
  std::string file;
  std::vector<std::string> categorical_columns;

  LeakRules guard;  // settings of a section of their own

  uint64_t seed = 1;  // of what is drawn; no setting, as keep_constant and read_images

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("format", format,
          "Layout of the data: `nih` (ChestX-ray14), `phantom` (what `medfusion synth` writes), `csv` (a "
          "table, "
          "and a folder of images), `medmnist` (an .npz file), `none` (no data: the labels come from "
          "`data.label_count`, `data.labels_file` or `data.labels`, and only `train.epochs = 0` can run).");
    visit("root", root,
          "Folder of the data, relative to the working directory. Where it starts with `../shared/data` and "
          "the environment variable `MEDFUSION_DATA` is set, that replaces the start. Files that other keys "
          "name are in this folder unless absolute.");
    visit("images", images,
          "`csv`: folder that the cells of `data.image_column` start from; empty means that of the table.");
    visit("labels", labels,
          "Labels to predict, in this order; empty means all that the data has. `csv`: the columns that hold "
          "them (0, 1, or empty for unknown).");
    visit("labels_file", labels_file, "File with one label name per line, in place of `data.labels`.");
    visit("label_count", label_count, Range::at_least(0),
          "Number of labels named class_0, class_1, ..., in place of `data.labels`; for `data.format = "
          "\"none\"`.");
    visit("min_positives", min_positives, Range::at_least(0),
          "Leaves out labels with fewer positives in the whole data.");
    visit("shuffle_labels", shuffle_labels,
          "A control: patients trade their labels at random before anything else is done, so that nothing "
          "true is left to learn. A test AUROC clear of 0.5 then shows a leak.");
    split.visit_fields(visit);
    image.visit_fields(visit);
    visit("cache_megabytes", cache_megabytes, Range::in(0, 1 << 24),
          "Memory for decoded and resized images, in MiB.");
    visit(
        "table", table,
        "Columns that become table inputs, of which alone the text speaks; empty means all: `nih` age, sex, "
        "view and follow_up (and where named aspect_ratio and pixel_spacing of the original image), `csv` "
        "every column without another role.");
    visit("log_columns", log_columns,
          "Numeric table columns read as sign(x) log(1 + |x|), such as counts with a wide range.");
    visit("extra_table", extra_table,
          "`nih`, `phantom`: CSV file with a column `Image Index` and a row for each image, whose other "
          "columns "
          "join the table. `medfusion predict` reads the file of this name beside its `--table`.");
    text.visit_fields(visit);
    visit("file", file, "`csv`: the file of the table; `medmnist`: the .npz file.");
    visit("id_column", id_column,
          "`csv`: column of the ids, which are unique; empty means the image's file name, or else the row.");
    visit("patient_column", patient_column,
          "`csv`: column of the patients; empty means that each row is one.");
    visit("image_column", image_column, "`csv`: column of the images' file names; empty means no images.");
    visit("text_column", text_column, "`csv`: column of the text; empty means no text.");
    visit("part_column", part_column,
          "`csv`: column of the part (train, val, test) for `data.split = \"own\"`.");
    visit("categorical_columns", categorical_columns,
          "`csv`, `data.extra_table`: table columns that are categories although they hold numbers; columns "
          "that hold text are so anyway.");
    visit(
        "exclude", exclude,
        "`csv`: columns that are not inputs; labels may be among them. Columns that hold one value only are "
        "left out anyway.");
  }
  void check_rules(const core::Require& require) const;

  // `root` as a path: relative to the working directory; where it starts with ../shared/data and the
  // environment variable MEDFUSION_DATA is set, that replaces the start.
  std::filesystem::path folder() const;
  // A file that a setting names: as it is where absolute, else below folder(); empty stays empty.
  std::string path(const std::string& name) const;
  // Label names that do not need the data: of labels_file (one per line) or class_0 .. of label_count, else
  // `labels`, which may be empty ("all that the data has").
  std::vector<std::string> label_names() const;
};

// Throws core::InputError as the readers do.
Dataset open_dataset(const DataOptions& options);

// Throws core::InputError as the functions of data/splits.h do.
Splits make_splits(const DataOptions& options, const Dataset& dataset);

// The fold of each row, read or drawn. For all folds of a cross-validation use this once and
// fold_splits for each.
std::vector<int64_t> assign_folds(const DataOptions& options, const Dataset& dataset);

}  // namespace medfusion::data
