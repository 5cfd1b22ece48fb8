// Settings and what the run decides beside them, for the parts that take both.
#pragma once

#include "data/loader.h"
#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

data::DataOptions to_data_options(const Config& config);
// Of data that a run with these labels is applied to, whatever the counts of the data say today.
data::DataOptions to_data_options(const Config& config, const std::vector<std::string>& labels);

// The guard's settings; errors carry the file of the data, or its folder.
data::LeakRules to_leak_rules(const Config& config);

// Throws core::InputError where `labels` does not hold resample.label.
data::ResampleOptions to_resample_options(const Config& config, const std::vector<std::string>& labels);

data::FeatureOptions to_feature_options(const Config& config);

// training: shuffled and augmented; else in order and as they are.
data::LoaderOptions to_loader_options(const Config& config, bool training);

}  // namespace medfusion::tools
