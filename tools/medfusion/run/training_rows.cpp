#include "tools/medfusion/run/training_rows.h"

#include <algorithm>
#include <numeric>

#include "core/word_list.h"
#include "data/labels.h"
#include "tools/evaluation/measures/subgroups.h"
#include "tools/medfusion/config/options.h"

namespace medfusion::tools {
namespace {

using data::ResampleMethod;

void check_table_alone(const Config& config, const data::Dataset& dataset, const core::Batch& encoded) {
  const char* method = core::text_of(config.resample.method);
  const bool images = config.model.modalities.image && dataset.images != nullptr;
  if (images || encoded.text.defined()) {
    core::throw_input_error(
        {},
        "resample.method: expected \"random\" for data with {}, which cannot be mixed; got "
        "\"{}\"",
        images ? "images" : "text", method);
  }
  if (!encoded.table.values.defined()) {
    core::throw_input_error({}, "resample.method: \"{}\" needs a table, there is none", method);
  }
}

}  // namespace

data::Dataset open_data(const Config& config, const data::DataOptions& options) {
  data::Dataset dataset = data::open_dataset(options);
  subgroup_columns(dataset.columns, config.evaluation.subgroups);  // refuses names that are not there
  if (config.data.shuffle_labels) {
    data::shuffle_labels(dataset);
    dataset.notes.emplace_back("a control: patients traded their labels at random (data.shuffle_labels)");
  }
  if (!config.resample.before_split) return dataset;
  std::vector<int64_t> all(static_cast<size_t>(dataset.size()));
  std::iota(all.begin(), all.end(), int64_t{0});
  const auto encoded = Preprocessing::fit(config, dataset, all).encode(dataset);
  check_table_alone(config, dataset, encoded);
  dataset.images = nullptr;
  data::append_rows(dataset, data::plan_resampling(encoded.table.values, dataset.targets, all,
                                                   to_resample_options(config, dataset.labels)));
  dataset.groups = dataset.ids;
  dataset.notes.emplace_back("resampled before the split: what is measured on the test part is wrong");
  return dataset;
}

data::Dataset open_data(const Config& config) { return open_data(config, to_data_options(config)); }

nlohmann::ordered_json positives_of(const data::Dataset& dataset, const std::vector<int64_t>& rows) {
  nlohmann::ordered_json json;
  const auto labels = static_cast<int64_t>(dataset.labels.size());
  for (int64_t label = 0; label < labels; ++label) {
    json[dataset.labels[static_cast<size_t>(label)]] =
        std::count_if(rows.begin(), rows.end(),
                      [&](int64_t row) { return dataset.targets.at(row * labels + label) == 1.0; });
  }
  return json;
}

std::vector<std::string> absent_classes(const data::Dataset& dataset, const std::vector<int64_t>& rows) {
  const auto count = static_cast<int64_t>(dataset.labels.size());
  std::vector<std::string> without_positive, without_negative;
  for (int64_t label = 0; label < count; ++label) {
    bool positive = false, negative = false;
    for (const int64_t row : rows) {
      positive |= dataset.targets.at(row * count + label) == 1.0;
      negative |= dataset.targets.at(row * count + label) == 0.0;
    }
    const std::string& name = dataset.labels[static_cast<size_t>(label)];
    if (!positive && negative) without_positive.push_back(name);
    if (positive && !negative) without_negative.push_back(name);
  }
  std::vector<std::string> notes;
  const auto add = [&](const std::vector<std::string>& names, const char* what) {
    if (!names.empty())
      notes.push_back(
          fmt::format("the training part has no {} row of {}", what, core::list_words(names, 20)));
  };
  add(without_positive, "positive");
  add(without_negative, "negative");
  return notes;
}

nlohmann::ordered_json TrainingRows::describe() const {
  return {{"rows", rows.size()}, {"positives", positives_of(dataset, rows)}};
}

TrainingRows resample_training(const Config& config, const data::Dataset& dataset,
                               const Preprocessing& preprocessing, const std::vector<int64_t>& rows) {
  TrainingRows result{dataset, preprocessing.encode(dataset), rows};
  const data::ResampleOptions options = to_resample_options(config, dataset.labels);
  if (options.method == ResampleMethod::none || config.resample.before_split || rows.empty()) return result;
  const bool repeat = options.method == ResampleMethod::random;
  if (!repeat) check_table_alone(config, dataset, result.encoded);
  const auto added = data::plan_resampling(result.encoded.table.values, dataset.targets, rows, options);
  if (repeat) {
    for (const data::SyntheticRow& row : added) result.rows.push_back(row.base);
    return result;
  }
  result.dataset.images = nullptr;
  for (size_t i = 0; i < added.size(); ++i) {
    result.rows.push_back(dataset.size() + static_cast<int64_t>(i));
  }
  data::append_rows(result.dataset, added);
  result.encoded = preprocessing.encode(result.dataset);
  return result;
}

}  // namespace medfusion::tools
