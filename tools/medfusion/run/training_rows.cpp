#include "tools/medfusion/run/training_rows.h"

#include <algorithm>
#include <numeric>

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
