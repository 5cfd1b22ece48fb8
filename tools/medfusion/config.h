// The configuration of a run: plain values read from TOML, `--set` and the command line. The keys, their
// types, defaults and meanings stand in one table (config_keys.cpp), which also makes docs/configuration.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace medfusion::tools {

struct DataConfig {
  std::string format = "nih";
  std::string root;
  std::string images;
  std::vector<std::string> labels;
  std::string labels_file;
  int64_t label_count = 0;
  int64_t min_positives = 0;
  bool shuffle_labels = false;

  std::string split = "official";
  std::string split_file;
  std::string folds = "5";
  int64_t fold = 0;
  double val_fraction = 0.1;
  double test_fraction = 0.2;

  int64_t image_size = 64;
  int64_t channels = 1;
  std::string normalize = "fixed";
  std::vector<double> mean{0.5};
  std::vector<double> std{0.25};
  int64_t cache_megabytes = 1024;

  std::vector<std::string> table;
  std::vector<std::string> log_columns;
  std::string extra_table;
  int64_t text_length = 16;
  int64_t text_min_count = 2;

  std::string file;
  std::string id_column;
  std::string patient_column;
  std::string image_column;
  std::string text_column;
  std::string part_column;
  std::vector<std::string> categorical_columns;
  std::vector<std::string> exclude;
};

struct GuardConfig {
  std::vector<std::string> targets;
  std::vector<std::string> leaking;
  std::string duplicates = "auto";
  std::vector<std::string> allow;
};

struct ResampleConfig {
  std::string method = "none";
  std::string label;
  double ratio = 1.0;
  int64_t neighbours = 5;
  bool before_split = false;
};

struct PublishedConfig {
  std::string method = "smote";
  std::vector<std::string> settings;
};

struct AugmentConfig {
  double shift = 0.05;
  double scale = 0.1;
  double rotation = 5.0;
  double brightness = 0.1;
  double contrast = 0.15;
  double gamma = 0.15;
  double horizontal_flip = 0.0;
};

struct FeaturesConfig {
  std::string mode = "all";
  int64_t top_n = 8;
  std::string score = "auroc";
  double alpha = 0.05;
  int64_t bootstrap = 100;
  std::string discretize = "auto";
  int64_t bins = 4;
  std::vector<std::string> cuts;
  std::string impute = "none";
};

struct ModelConfig {
  std::string name = "medfusionnet";
  std::string size = "small";
  std::string output = "sigmoid";
  struct {
    bool dense = true;
    bool pyramid = true;
    bool attention = true;
  } branches;
  struct {
    bool image = true;
    bool table = true;
    bool text = true;
  } modalities;
  int64_t dim = 0;
  int64_t heads = 0;
  int64_t layers = 0;
  double mlp_ratio = 0.0;
  int64_t pyramid_channels = 0;
  std::vector<int64_t> token_levels{4, 5};
  std::string text_tokens = "words";
  std::string upsample = "nearest";
  bool align_corners = false;
  double dropout = 0.1;
  double modality_dropout = 0.1;
};

struct TrainConfig {
  int64_t epochs = 30;
  int64_t batch_size = 32;
  std::string optimizer = "adamw";
  double learning_rate = 1e-3;
  double weight_decay = 1e-2;
  double momentum = 0.9;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double warmup_epochs = 1.0;
  std::string schedule = "cosine";
  double min_learning_rate = 1e-5;
  double clip_norm = 1.0;
  double ema_decay = 0.0;
  int64_t early_stopping = 0;
  std::string loss = "bce";
  std::string pos_weight = "none";
  double focal_gamma = 2.0;
  double asl_gamma_neg = 4.0;
  double asl_gamma_pos = 1.0;
  double asl_clip = 0.05;
  double label_smoothing = 0.0;
  bool prior_bias = true;
  bool graph = true;
  std::string precision = "f32";
  int64_t eval_every = 1;
  int64_t workers = 1;
  std::string select = "best";
  std::string threshold = "youden";
};

struct CalibrationConfig {
  std::string method = "platt";
};

struct RiskConfig {
  std::string method = "targets";
  double sensitivity = 0.95;
  double ppv = 0.5;
  double low = 0.1;
  double high = 0.5;
};

struct EvaluationConfig {
  std::vector<std::string> subgroups;
  std::vector<double> age_bands{18.0, 40.0, 60.0, 80.0};
  int64_t bins = 15;
};

struct Config {
  int64_t seed = 1;
  int64_t threads = 0;
  DataConfig data;
  GuardConfig guard;
  ResampleConfig resample;
  PublishedConfig published;
  AugmentConfig augment;
  FeaturesConfig features;
  ModelConfig model;
  TrainConfig train;
  CalibrationConfig calibration;
  RiskConfig risk;
  EvaluationConfig evaluation;
};

// Builds a Config step by step and remembers where each value came from. Every function throws
// core::InputError "FILE:LINE:COLUMN: KEY: expected ..., got ..." on bad input.
class ConfigBuilder {
 public:
  // Reads a TOML file over what is there.
  void read_file(const std::string& path);
  // The same for TOML text; `file` is the name that errors carry.
  void read_text(const std::string& text, const std::string& file);
  // "key=value" of --set. Text may go without quotes, and a list without brackets: `data.labels=Mass,Edema`.
  void set(const std::string& assignment);
  // As set(), for options of the command line such as --seed: errors name `option`.
  void set(const std::string& key, const std::string& value, const std::string& option);

  // What was read so far, unchecked.
  const Config& unchecked() const { return config_; }

  // Checks what several keys must agree on.
  Config build() const;

 private:
  void require(bool condition, const std::vector<std::string>& keys, const std::string& message) const;
  void check_labels() const;
  void check_data() const;
  void check_resampling() const;
  void check_images() const;
  void check_features() const;
  void check_model() const;
  void check_train() const;
  void check_evaluation() const;

  Config config_;
  std::string file_;                           // the last that was read
  std::map<std::string, core::Place> places_;  // of the keys that were given
};

// A file, then assignments of --set in their order.
Config load_config(const std::string& path, const std::vector<std::string>& assignments = {});

// The configuration as TOML with every key, in the order of the table. Reading it gives the same Config.
std::string to_toml(const Config& config);

// data.root as a path: relative to the working directory; where it starts with ../shared/data and the
// environment variable MEDFUSION_DATA is set, that replaces the start.
std::filesystem::path data_root(const Config& config);

// A file named by a data.* key: as it is where absolute, else below data_root().
std::filesystem::path data_path(const Config& config, const std::string& name);

// The column and the cuts of a text of features.cuts; nothing where it is none.
std::optional<std::pair<std::string, std::vector<double>>> parse_cuts(const std::string& text);

// The number of folds to draw where data.folds is one; nothing where it names a file.
std::optional<int64_t> fold_count(const Config& config);

// Label names that do not need the data: data.labels_file (one per line) or class_0 .. of data.label_count,
// else data.labels, which may be empty ("all that the data has").
std::vector<std::string> configured_labels(const Config& config);

}  // namespace medfusion::tools
