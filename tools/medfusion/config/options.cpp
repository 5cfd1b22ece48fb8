#include "tools/medfusion/config/options.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/nearest.h"

namespace medfusion::tools {

data::LeakRules to_leak_rules(const Config& config) {
  data::LeakRules rules = config.data.guard;
  rules.file = config.data.file.empty() ? config.data.folder().string() : config.data.path(config.data.file);
  return rules;
}

data::ResampleOptions to_resample_options(const Config& config, const std::vector<std::string>& labels) {
  data::ResampleOptions options = config.resample;
  if (!options.label.empty()) {
    const auto found = std::find(labels.begin(), labels.end(), options.label);
    if (found == labels.end()) {
      core::throw_input_error({}, "resample.label: the data has no label '{}'{}", options.label,
                              core::did_you_mean(options.label, labels));
    }
    options.label_index = found - labels.begin();
  }
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

data::DataOptions to_data_options(const Config& config) {
  data::DataOptions options = config.data;
  options.read_images = config.model.modalities.image;
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

data::DataOptions to_data_options(const Config& config, const std::vector<std::string>& labels) {
  data::DataOptions options = to_data_options(config);
  options.labels = labels;
  options.labels_file.clear();
  options.label_count = 0;
  options.min_positives = 0;
  options.keep_constant = true;
  return options;
}

data::FeatureOptions to_feature_options(const Config& config) {
  data::FeatureOptions options = config.features;
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

data::LoaderOptions to_loader_options(const Config& config, bool training) {
  data::LoaderOptions options;
  options.use_images = config.model.modalities.image;
  options.format = config.data.image;
  options.batch_size = config.train.batch_size;
  options.shuffle = training;
  if (training) options.augment = config.augment;
  options.seed = static_cast<uint64_t>(config.seed);
  options.workers = static_cast<int>(config.train.workers);
  options.cache_bytes = config.data.cache_megabytes << 20;
  return options;
}

}  // namespace medfusion::tools
