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

inline constexpr std::array kDataFormats{"nih", "phantom", "csv", "medmnist", "chexpert", "none"};
enum class DataFormat : uint8_t {
  nih,
  phantom,  // the layout of nih, without labels that it does not plant
  csv,
  medmnist,
  chexpert,
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
  std::string pack;
  int64_t cache_megabytes = 1024;
  std::vector<std::string> log_columns;
  std::string extra_table;
  TextOptions text;
  std::string file;
  std::vector<std::string> categorical_columns;
  double max_skipped = 0.1;

  LeakRules guard;  // settings of a section of their own

  uint64_t seed = 1;  // of what is drawn; no setting, as keep_constant and read_images

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("format", format,
          "Layout of the data: `nih` (ChestX-ray14), `phantom` (what `medfusion synth` writes), `csv` (a "
          "table, with or without a folder of images), `medmnist` (an .npz file), `chexpert` (train.csv and "
          "valid.csv with paths), or `none` (no data). With "
          "`none` the labels come from `data.label_count`, `data.labels_file` or `data.labels`, and "
          "`train.epochs` must be 0.");
    visit("root", root,
          "Folder of the data, relative to the working directory. If it starts with `../shared/data` and the "
          "environment variable `MEDFUSION_DATA` is set, the variable's value replaces this start. File "
          "names in other keys are relative to this folder unless they are absolute.");
    visit("images", images,
          "`csv`: folder to which the file names in `data.image_column` are relative; empty means the folder "
          "of the table.");
    visit("labels", labels,
          "Labels to predict, in this order; empty means all that the data has. `csv`: the columns that hold "
          "them (0 or 1, false or true, no or yes; a missing cell is unknown; -1 is what `data.uncertain` "
          "says), or the words of `data.class_column`.");
    visit("labels_file", labels_file, "File with one label name per line, in place of `data.labels`.");
    visit("label_count", label_count, Range::at_least(0),
          "Number of labels, named class_0, class_1, ..., in place of `data.labels`; for `data.format = "
          "\"none\"`.");
    visit("min_positives", min_positives, Range::at_least(0),
          "Labels with fewer positives than this in the whole data are left out.");
    visit("shuffle_labels", shuffle_labels,
          "A control: the labels are shuffled among patients before anything else is done, so there is "
          "nothing true to learn. A test AUROC clear of 0.5 then shows a leak.");
    split.visit_fields(visit);
    image.visit_fields(visit);
    visit("pack", pack,
          "File that `medfusion pack` made of these data, from which resized images are read in place of the "
          "image files; it needs `data.round_pixels = true`. Empty means none.");
    visit("cache_megabytes", cache_megabytes, Range::in(0, 1 << 24),
          "Memory for decoded and resized images, in MiB.");
    visit("table", table,
          "Table columns that are inputs; the text of `nih` mentions only these. Empty means age, sex, view "
          "and follow_up for `nih`, and every column without another role for `csv`. `nih` also has "
          "aspect_ratio and pixel_spacing of the original image; they are read only if named here. For `csv` "
          "an asterisk stands for any characters: `*` is every column without another role. Inputs that are "
          "written as the labels are (0 and 1) must be named here, or left out by `data.exclude`.");
    visit(
        "log_columns", log_columns,
        "Numeric table columns that are replaced by sign(x) log(1 + |x|), such as counts with a wide range.");
    visit("extra_table", extra_table,
          "`nih`, `phantom`: CSV file with a column `Image Index` and a row for each image; its other "
          "columns are added to the table. `medfusion predict` reads the file of this name in the folder of "
          "its `--table`.");
    text.visit_fields(visit);
    visit_csv_fields(visit);
    visit(
        "on_error", on_error,
        "What is done about an image that cannot be read: `fail` stops; `skip` decodes every image before "
        "the split, leaves out the rows of those that cannot be read, counts them in a note, and lists them "
        "in `skipped.csv` of the run.");
    visit("max_skipped", max_skipped, Range::in(0, 1),
          "Largest share of the rows that `data.on_error = \"skip\"` may leave out; `medfusion predict` and "
          "`explain` only need one image that can be read.");
    dialect.limits.visit_fields(visit);
  }
  // Of `csv`, and the file of `medmnist`.
  void visit_csv_fields(core::FieldVisitor& visit) {
    visit("separator", dialect.separator,
          "`csv`: what separates the columns; `auto` takes what stands most often in the header.");
    visit("decimal", decimal,
          "`csv`: decimal mark of the inputs' numbers; the other mark, blanks and apostrophes may separate "
          "groups of three digits, and a percent sign divides by 100. `auto` takes for each column the mark "
          "that reads all its numbers, and where both do (1,520) the point.");
    visit(
        "missing", dialect.missing,
        "`csv`: cells that are missing beside empty ones, `?` and the spellings that pandas reads so (`NA`, "
        "`N/A`, `NULL`, `NaN`, `None`, `#N/A`, ...).");
    visit("uncertain", uncertain,
          "What a label of -1 is: `refuse` stops with the number of such rows, `unknown`, `negative`, "
          "`positive`; `auto` is `refuse` for `csv` and `unknown` for `chexpert`.");
    visit("blank", blank,
          "What a label without a value is: `unknown`, `negative`; `auto` is `unknown` for `csv` and "
          "`negative` for `chexpert`, whose blanks are findings that the report does not mention.");
    visit("file", file, "`csv`: the file of the table; `medmnist`: the .npz file.");
    visit("id_column", id_column,
          "`csv`: column of the ids, which are unique; empty means the image's file name, or else the row.");
    visit("patient_column", patient_column,
          "`csv`: column of the patients; empty means that each row is a patient.");
    visit("image_column", image_column, "`csv`: column of the images' file names; empty means no images.");
    visit("group_images", group_images,
          "`csv`: column that says which images belong together, such as both eyes of a patient: the network "
          "reads a row's image and, as more tokens, the next image with the same cell (docs/data.md). Empty "
          "means one image per row.");
    visit("text_column", text_column, "`csv`: column of the text; empty means no text.");
    visit("class_column", class_column,
          "`csv`: column of words, such as diagnoses, in place of a column for each label: each word is a "
          "label, and of a row the one it holds is true. The labels are in alphabetical order, or as "
          "`data.labels` names them; a missing cell is unknown.");
    visit("exclusive", exclusive,
          "`csv`: exactly one of the labels is 1 in each row, and other rows are refused. This holds of "
          "`data.class_column` and of the classes of `medmnist` in any case.");
    visit("part_column", part_column,
          "`csv`: column of the part (train, val, test) for `data.split = \"own\"`.");
    visit("categorical_columns", categorical_columns,
          "`csv`, `data.extra_table`: table columns that hold numbers but are categories. Columns that hold "
          "text are always categories.");
    visit(
        "exclude", exclude,
        "`csv`: columns that are not inputs; labels may be among them, and an asterisk stands for any "
        "characters. Columns with a single value are always left out, and so are dates and identifiers that "
        "`data.table` does not name.");
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

// The rows as the reader of the format gives them, before any is skipped or joined with others: what a pack
// is made of. Throws core::InputError as the readers do.
Dataset read_dataset(const DataOptions& options);

// The same, with the pack's images where there is one. Throws core::InputError as the readers and use_pack()
// do.
Dataset open_dataset(const DataOptions& options);

// Throws core::InputError as the functions of data/splits.h do.
Splits make_splits(const DataOptions& options, const Dataset& dataset);

// The fold of each row, read or drawn. For all folds of a cross-validation use this once and
// fold_splits for each.
std::vector<int64_t> assign_folds(const DataOptions& options, const Dataset& dataset);

}  // namespace medfusion::data
