#include "data/open.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "data/image_groups.h"
#include "data/labels.h"
#include "data/pack.h"
#include "data/readers/chexpert.h"
#include "data/readers/medmnist.h"
#include "data/readers/nih.h"
#include "data/readers/text_file.h"
#include "data/unreadable.h"

namespace medfusion::data {
namespace {

// Whether `auto` draws the parts: the data brings none.
bool draws_parts(const DataOptions& options, const Dataset& dataset) {
  return options.split.kind == SplitKind::automatic && options.format == DataFormat::csv &&
         dataset.parts.empty();
}

Dataset open_csv(const DataOptions& options) {
  const CsvOptions csv{options, options.path(options.file), options.path(options.images),
                       options.label_names(), options.categorical_columns};
  Dataset dataset = read_csv_folder(csv);
  select_labels(dataset, {}, options.min_positives, csv.file);
  if (draws_parts(options, dataset)) {
    const char* what =
        csv.patient_column.empty() ? "rows, each a patient (data.patient_column)," : "whole patients";
    dataset.notes.push_back(fmt::format("{} are drawn into parts at random (data.split)", what));
  }
  return dataset;
}

Dataset open_medmnist(const DataOptions& options) {
  const std::string file = options.path(options.file);
  Dataset dataset = read_medmnist(file, options.dialect.limits.array_bytes());
  select_labels(dataset, options.label_names(), options.min_positives, file);
  select_columns(dataset, options.table, file);
  return dataset;
}

Dataset open_chexpert(const DataOptions& options) {
  const std::string root = options.folder().string();
  Dataset dataset = read_chexpert({root, options.read_images, options.uncertain, options.blank,
                                   options.on_error, options.dialect.limits});
  select_labels(dataset, options.label_names(), options.min_positives, root);
  select_columns(dataset, options.table, root);
  return dataset;
}

Dataset open_nih(const DataOptions& options) {
  const std::vector<std::string> labels = options.label_names();
  const int64_t least = options.format == DataFormat::phantom && labels.empty()
                            ? std::max<int64_t>(1, options.min_positives)
                            : options.min_positives;
  const std::string root = options.folder().string();
  Dataset dataset =
      read_nih({root, labels, least, options.read_images, options.table, options.path(options.extra_table),
                options.categorical_columns, options.format == DataFormat::nih,
                options.on_error == OnError::skip, options.dialect.limits});
  const SplitKind kind = options.split.kind;
  if (kind != SplitKind::official && kind != SplitKind::automatic) return dataset;
  if (std::string note = departures_from_lists(dataset, root); !note.empty())
    dataset.notes.push_back(std::move(note));
  return dataset;
}

Dataset read_format(const DataOptions& options) {
  switch (options.format) {
    case DataFormat::csv:
      return open_csv(options);
    case DataFormat::medmnist:
      return open_medmnist(options);
    case DataFormat::chexpert:
      return open_chexpert(options);
    case DataFormat::none:
      core::throw_input_error({}, "data.format: expected data, got \"none\"");
    default:
      return open_nih(options);
  }
}

void check_labels(const DataOptions& data, const core::Require& require) {
  const int sources =
      (data.labels.empty() ? 0 : 1) + (data.labels_file.empty() ? 0 : 1) + (data.label_count > 0 ? 1 : 0);
  require(sources <= 1, {"data.label_count", "data.labels_file", "data.labels"},
          "expected one of data.labels, data.labels_file and data.label_count, got several");
  const std::set<std::string> distinct(data.labels.begin(), data.labels.end());
  require(distinct.size() == data.labels.size(), {"data.labels"}, "a label is there twice");
  require(!distinct.contains(""), {"data.labels"}, "a label is empty");
  if (data.format == DataFormat::none) {
    require(sources == 1, {"data.format"},
            "without data, expected data.labels, data.labels_file or data.label_count");
  } else {
    require(data.label_count == 0, {"data.label_count"}, "expected 0, for the data names the labels");
  }
  const bool csv = data.format == DataFormat::csv;
  require(!csv || sources == 1 || !data.class_column.empty(), {"data.labels", "data.format"},
          "expected the columns of the labels, got none");
  require(csv || data.class_column.empty(), {"data.class_column", "data.format"},
          "expected data.format = \"csv\" with it");
  require(csv || !data.exclusive, {"data.exclusive", "data.format"},
          "expected data.format = \"csv\" with it");
  require(!data.exclusive || data.class_column.empty(), {"data.exclusive", "data.class_column"},
          "expected columns of labels (data.labels), not a column of words, which excludes in any case");
}

}  // namespace

void DataOptions::check_rules(const core::Require& require) const {
  check_labels(*this, require);
  if (format != DataFormat::none) {
    const bool nih = format == DataFormat::nih || format == DataFormat::phantom;
    require(nih || extra_table.empty(), {"data.extra_table", "data.format"},
            fmt::format("expected data.format = \"nih\" or \"phantom\" with it, got \"{}\"",
                        core::text_of(format)));
    require(!root.empty(), {"data.root"}, "expected the folder of the data, got nothing");
    require(nih || format == DataFormat::chexpert || !file.empty(), {"data.file", "data.format"},
            "expected a file name, got nothing");
    require(
        split.kind != SplitKind::own || !nih, {"data.split", "data.format"},
        fmt::format("expected data.format = \"csv\", \"medmnist\" or \"chexpert\" for \"own\", got \"{}\"",
                    core::text_of(format)));
    const bool own = split.kind == SplitKind::own || split.kind == SplitKind::official;
    require(format != DataFormat::csv || !own || !part_column.empty(), {"data.part_column", "data.split"},
            fmt::format("expected a column for data.split = \"{}\", got nothing", core::text_of(split.kind)));
    split.check_rules(require);
  }
  require(group_images.empty() || (format == DataFormat::csv && !image_column.empty()),
          {"data.group_images", "data.format"},
          "expected data.format = \"csv\" and data.image_column with it");
  require(pack.empty() || image.round_pixels, {"data.pack", "data.round_pixels"},
          "expected data.round_pixels = true with a pack, which holds whole numbers of 0 to 255");
  image.check_rules(require);
}

std::filesystem::path DataOptions::folder() const {
  namespace fs = std::filesystem;
  const fs::path given = fs::path(root).lexically_normal();
  const char* replacement = std::getenv("MEDFUSION_DATA");
  if (replacement == nullptr || *replacement == '\0') return given;
  const fs::path start = fs::path("..") / "shared" / "data";
  const auto [rest, end] = std::mismatch(given.begin(), given.end(), start.begin(), start.end());
  if (end != start.end()) return given;
  fs::path result = replacement;
  for (auto part = rest; part != given.end(); ++part) result /= *part;
  return result;
}

std::string DataOptions::path(const std::string& name) const {
  return name.empty() ? std::string() : (folder() / name).string();
}

std::vector<std::string> DataOptions::label_names() const {
  std::vector<std::string> names;
  for (int64_t i = 0; i < label_count; ++i) names.push_back(fmt::format("class_{}", i));
  if (label_count > 0) return names;
  if (labels_file.empty()) return labels;
  const std::string list = path(labels_file);
  for (const Line& line : read_lines(list)) {
    if (std::find(names.begin(), names.end(), line.text) != names.end())
      core::throw_input_error({list, line.number, 1}, "label '" + line.text + "' is there twice");
    names.push_back(line.text);
  }
  if (names.empty()) core::throw_input_error({list}, "expected one label name per line, got none");
  return names;
}

Dataset read_dataset(const DataOptions& options) {
  Dataset dataset = read_format(options);
  dataset.name = core::text_of(options.format);
  return dataset;
}

Dataset open_dataset(const DataOptions& options) {
  Dataset dataset = read_dataset(options);
  if (!options.pack.empty()) use_pack(dataset, options.path(options.pack), options.image);
  if (options.on_error == OnError::skip) skip_unreadable(dataset, options.max_skipped);
  const bool rows_are_patients = options.format == DataFormat::medmnist ||
                                 (options.format == DataFormat::csv && options.patient_column.empty());
  if (!rows_are_patients) join_patients(dataset);
  check_image_groups(dataset);
  group_duplicates(dataset, options.guard.duplicates);
  if (options.split.kind == SplitKind::folds && !options.split.fold_count()) {
    if (std::string note = fold_numbering(dataset, options.path(options.split.folds)); !note.empty())
      dataset.notes.push_back(std::move(note));
  }
  return dataset;
}

std::vector<int64_t> assign_folds(const DataOptions& options, const Dataset& dataset) {
  if (const auto count = options.split.fold_count()) return make_folds(dataset, *count, options.seed);
  return read_folds(dataset, options.path(options.split.folds), options.guard.allows("patient"));
}

Splits make_splits(const DataOptions& options, const Dataset& dataset) {
  const SplitOptions& split = options.split;
  const bool allow_patients = options.guard.allows("patient");
  switch (draws_parts(options, dataset) ? SplitKind::random : split.kind) {
    case SplitKind::automatic:
    case SplitKind::official:
      if (options.format == DataFormat::nih || options.format == DataFormat::phantom)
        return official_splits(dataset, options.folder().string(), split.val_fraction, options.seed,
                               allow_patients);
      [[fallthrough]];
    case SplitKind::own:
      return own_splits(dataset, split.val_fraction, options.seed, allow_patients);
    case SplitKind::random:
      return random_splits(dataset, split.val_fraction, split.test_fraction, options.seed);
    case SplitKind::file:
      return file_splits(dataset, options.path(split.file), split.val_fraction, options.seed, allow_patients);
    default:
      return fold_splits(dataset, assign_folds(options, dataset), split.fold, split.val_fraction,
                         options.seed);
  }
}

}  // namespace medfusion::data
