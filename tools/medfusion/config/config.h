// The configuration of a run: the settings of all parts of the program.
#pragma once

#include <string>
#include <vector>

#include "data/images/augment.h"
#include "data/open.h"
#include "data/table/feature_selection.h"
#include "data/table/resampling.h"
#include "models/model_options.h"
#include "optim/train_options.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/measures/risk_levels.h"
#include "tools/medfusion/config/settings_file.h"

namespace medfusion::tools {

// Of medfusion cv --protocol as-published.
struct PublishedOptions {
  data::ResampleMethod method = data::ResampleMethod::smote;
  std::vector<std::string> settings;

  void visit_fields(core::FieldVisitor& visit) {
    visit("method", method, core::Range::one_of({"random", "smote", "adasyn"}),
          "Method of resampling before the split in `medfusion cv --protocol as-published`.");
    visit("settings", settings, "Settings of the network in that comparison, each as KEY=VALUE of `--set`.");
  }
};

struct Config {
  int64_t seed = 1;
  int64_t threads = 0;
  data::DataOptions data;
  data::ResampleOptions resample;
  PublishedOptions published;
  data::AugmentOptions augment;
  data::FeatureOptions features;
  models::ModelOptions model;
  optim::TrainOptions train;
  CalibrationOptions calibration;
  RiskOptions risk;
  EvaluationOptions evaluation;

  void visit_fields(core::FieldVisitor& visit) {
    visit("seed", seed, core::Range::at_least(0),
          "Seed of everything that is drawn at random: initial weights, order, augmentation, dropout, random "
          "splits.");
    visit("threads", threads, core::Range::in(0, 4096),
          "Number of threads to compute with; 0 uses all cores. Results do not depend on it.");
    visit.section("data", data);
    visit.section("guard", data.guard);
    visit.section("resample", resample);
    visit.section("published", published);
    visit.section("augment", augment);
    visit.section("features", features);
    visit.section("model", model);
    visit.section("train", train);
    visit.section("calibration", calibration);
    visit.section("risk", risk);
    visit.section("evaluation", evaluation);
  }
  // Those of all sections, and the rules between them.
  void check_rules(const core::Require& require) const;
};

class ConfigBuilder : public SettingsReader {
 public:
  // What was read so far, unchecked.
  const Config& unchecked() const { return config_; }
  // Checks the rules between keys.
  Config build() const;

 private:
  std::vector<core::Field> fields() override { return core::fields_of(config_); }

  Config config_;
};

// A file, then assignments of --set in their order.
Config load_config(const std::string& path, const std::vector<std::string>& assignments = {});

// The configuration as TOML with every key. Reading it gives the same Config.
std::string to_toml(Config config);

}  // namespace medfusion::tools
