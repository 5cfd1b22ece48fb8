#include "tools/medfusion/config/config.h"

#include <fmt/format.h>

#include <algorithm>

namespace medfusion::tools {

void Config::check_rules(const core::Require& require) const {
  data.check_rules(require);
  require(data.format != data::DataFormat::none || train.epochs == 0, {"train.epochs", "data.format"},
          fmt::format("expected 0 without data (data.format = \"none\"), got {}", train.epochs));
  require(!resample.before_split || data.guard.allows("resampling"), {"resample.before_split"},
          "guard: resampling before the split tests a network on what it was trained on; guard.allow = "
          "[\"resampling\"] accepts it");
  resample.check_rules(require);
  require(resample.label.empty() || data.labels.empty() ||
              std::find(data.labels.begin(), data.labels.end(), resample.label) != data.labels.end(),
          {"resample.label"}, fmt::format("expected one of data.labels, got '{}'", resample.label));
  features.check_rules(require);
  require(features.mode != data::FeatureMode::none || model.modalities.image || model.modalities.text,
          {"features.mode", "model.modalities.image"},
          "expected \"top_n\" or \"all\", for the network reads nothing but the table");
  model.check_rules(require);
  train.check_rules(require);
  risk.check_rules(require);
  evaluation.check_rules(require);
}

Config ConfigBuilder::build() const {
  config_.check_rules(require());
  return config_;
}

Config load_config(const std::string& path, const std::vector<std::string>& assignments) {
  ConfigBuilder builder;
  builder.read_file(path);
  for (const std::string& assignment : assignments) builder.set(assignment);
  return builder.build();
}

std::string to_toml(Config config) { return to_toml(core::fields_of(config)); }

}  // namespace medfusion::tools
