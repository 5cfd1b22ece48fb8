// From the configuration to the options of the parts it configures.
#pragma once

#include "data/feature_selection.h"
#include "data/leakage.h"
#include "data/loader.h"
#include "data/open.h"
#include "data/resampling.h"
#include "tools/medfusion/config.h"

namespace medfusion::tools {

// Paths are resolved as data_path() says. Throws core::InputError where data.labels_file cannot be read.
data::DataOptions to_data_options(const Config& config);

// The guard's keys; errors carry the file of the data, or its folder.
data::LeakRules to_leak_rules(const Config& config);

// Throws core::InputError where `labels` does not hold resample.label.
data::ResampleOptions to_resample_options(const Config& config, const std::vector<std::string>& labels);

// One mean and deviation per channel.
data::ImageFormat to_image_format(const Config& config);

data::AugmentOptions to_augment_options(const Config& config);

// features.* for stage one; `auto` is resolved.
data::FeatureOptions to_feature_options(const Config& config);

// training: shuffled and augmented; else in order and as they are.
data::LoaderOptions to_loader_options(const Config& config, bool training);

}  // namespace medfusion::tools
