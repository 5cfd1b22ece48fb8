// What a network is trained on: the rows of the training part, over-sampled as the configuration says.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// The configured data. With resample.before_split all of it is resampled here, the rows drawn one by one, as
// if they were patients of their own: the mistake that guard.allow must accept.
data::Dataset open_data(const Config& config, const data::DataOptions& options);
data::Dataset open_data(const Config& config);

// {label: rows that are positive}
nlohmann::ordered_json positives_of(const data::Dataset& dataset, const std::vector<int64_t>& rows);

// One line where labels have no positive row among `rows` (of the training part) and one where they have no
// negative one; nothing of labels that are unknown throughout.
std::vector<std::string> absent_classes(const data::Dataset& dataset, const std::vector<int64_t>& rows);

struct TrainingRows {
  data::Dataset dataset;      // with new rows at its end where the method makes any
  core::Batch encoded;        // of that dataset
  std::vector<int64_t> rows;  // of it; repeated where the method repeats

  // Rows and positives per label, for data.json.
  nlohmann::ordered_json describe() const;
};

// Over-samples `rows` by the encoding that was fitted to them. Throws core::InputError where new rows would
// need images or text.
TrainingRows resample_training(const Config& config, const data::Dataset& dataset,
                               const Preprocessing& preprocessing, const std::vector<int64_t>& rows);

}  // namespace medfusion::tools
