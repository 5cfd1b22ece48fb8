#include "data/open.h"

#include <algorithm>

#include "core/nearest.h"
#include "data/csv_folder.h"
#include "data/labels.h"
#include "data/medmnist.h"
#include "data/nih.h"

namespace medfusion::data {
namespace {

Dataset open_csv(const DataOptions& options) {
  if (options.labels.empty())
    core::throw_input_error({}, "labels: expected the columns of the labels, got none");
  CsvOptions csv;
  csv.file = options.file;
  csv.images = options.images;
  csv.id_column = options.id_column;
  csv.patient_column = options.patient_column;
  csv.image_column = options.image_column;
  csv.text_column = options.text_column;
  csv.part_column = options.part_column;
  csv.labels = options.labels;
  csv.table = options.table;
  csv.categorical = options.categorical_columns;
  csv.exclude = options.exclude;
  csv.keep_constant = options.keep_constant;
  csv.read_images = options.read_images;
  Dataset dataset = read_csv_folder(csv);
  select_labels(dataset, {}, options.min_positives, options.file);
  return dataset;
}

Dataset open_medmnist(const DataOptions& options) {
  Dataset dataset = read_medmnist(options.file);
  select_labels(dataset, options.labels, options.min_positives, options.file);
  select_columns(dataset, options.table, options.file);
  return dataset;
}

[[noreturn]] void reject_name(const char* option, const std::string& name,
                              const std::vector<std::string>& known) {
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
  core::throw_input_error({}, fmt::format("{}: expected one of {}, got '{}'{}", option, list, name,
                                          core::did_you_mean(name, known)));
}

}  // namespace

namespace {

Dataset read(const DataOptions& options) {
  if (options.format == "csv") return open_csv(options);
  if (options.format == "medmnist") return open_medmnist(options);
  if (options.format != "nih" && options.format != "phantom") {
    reject_name("format", options.format, {"nih", "phantom", "csv", "medmnist"});
  }
  const int64_t least = options.format == "phantom" && options.labels.empty()
                            ? std::max<int64_t>(1, options.min_positives)
                            : options.min_positives;
  Dataset dataset = read_nih({options.root, options.labels, least, options.read_images, options.table,
                              options.extra_table, options.categorical_columns});
  dataset.name = options.format;
  return dataset;
}

}  // namespace

Dataset open_dataset(const DataOptions& options) {
  Dataset dataset = read(options);
  group_duplicates(dataset, options.duplicates);
  return dataset;
}

std::vector<int64_t> assign_folds(const DataOptions& options, const Dataset& dataset) {
  return options.fold_file.empty() ? make_folds(dataset, options.folds, options.seed)
                                   : read_folds(dataset, options.fold_file, options.allow_patients);
}

Splits make_splits(const DataOptions& options, const Dataset& dataset) {
  const std::string& split = options.split;
  if (split == "official" && (options.format == "nih" || options.format == "phantom")) {
    return official_splits(dataset, options.root, options.val_fraction, options.seed, options.allow_patients);
  }
  if (split == "official" || split == "own")
    return own_splits(dataset, options.val_fraction, options.seed, options.allow_patients);
  if (split == "random")
    return random_splits(dataset, options.val_fraction, options.test_fraction, options.seed);
  if (split == "file")
    return file_splits(dataset, options.split_file, options.val_fraction, options.seed,
                       options.allow_patients);
  if (split != "folds") reject_name("split", split, {"official", "own", "random", "folds", "file"});
  return fold_splits(dataset, assign_folds(options, dataset), options.fold, options.val_fraction,
                     options.seed);
}

}  // namespace medfusion::data
