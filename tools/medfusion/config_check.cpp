// What several configuration keys must agree on.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <set>
#include <sstream>

#include "tools/medfusion/config.h"

namespace medfusion::tools {

std::optional<std::pair<std::string, std::vector<double>>> parse_cuts(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == 0 || colon == std::string::npos) return std::nullopt;
  std::pair<std::string, std::vector<double>> result{text.substr(0, colon), {}};
  std::istringstream words(text.substr(colon + 1));
  for (std::string word; words >> word;) {
    double cut = 0.0;
    const char* const end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data(), end, cut);
    const bool rises = result.second.empty() || cut > result.second.back();
    if (parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(cut) || !rises) return std::nullopt;
    result.second.push_back(cut);
  }
  if (result.second.empty()) return std::nullopt;
  return result;
}

// At the place where the first of the keys was given that was given at all; the message is about the first.
void ConfigBuilder::require(bool condition, const std::vector<std::string>& keys,
                            const std::string& message) const {
  if (condition) return;
  core::Place place{file_};
  for (const std::string& key : keys) {
    if (const auto found = places_.find(key); found != places_.end()) {
      place = found->second;
      break;
    }
  }
  core::throw_input_error(place, keys.front() + ": " + message);
}

void ConfigBuilder::check_labels() const {
  const DataConfig& data = config_.data;
  const int sources =
      (data.labels.empty() ? 0 : 1) + (data.labels_file.empty() ? 0 : 1) + (data.label_count > 0 ? 1 : 0);
  require(sources <= 1, {"data.label_count", "data.labels_file", "data.labels"},
          "expected one of data.labels, data.labels_file and data.label_count, got several");
  const std::set<std::string> distinct(data.labels.begin(), data.labels.end());
  require(distinct.size() == data.labels.size(), {"data.labels"}, "a label is there twice");
  require(!distinct.contains(""), {"data.labels"}, "a label is empty");
  if (data.format == "none") {
    require(sources == 1, {"data.format"},
            "without data, expected data.labels, data.labels_file or data.label_count");
  } else {
    require(data.label_count == 0, {"data.label_count"}, "expected 0, for the data names the labels");
  }
  if (data.format == "csv") {
    require(sources == 1, {"data.labels", "data.format"}, "expected the columns of the labels, got none");
  }
}

void ConfigBuilder::check_data() const {
  const DataConfig& data = config_.data;
  if (data.format == "none") {
    require(config_.train.epochs == 0, {"train.epochs", "data.format"},
            fmt::format("expected 0 without data (data.format = \"none\"), got {}", config_.train.epochs));
    return;
  }
  const bool nih = data.format == "nih" || data.format == "phantom";
  require(nih || data.extra_table.empty(), {"data.extra_table", "data.format"},
          fmt::format("expected data.format = \"nih\" or \"phantom\" with it, got \"{}\"", data.format));
  require(!data.root.empty(), {"data.root"}, "expected the folder of the data, got nothing");
  require(nih || !data.file.empty(), {"data.file", "data.format"}, "expected a file name, got nothing");
  require(data.split != "own" || !nih, {"data.split", "data.format"},
          fmt::format("expected data.format = \"csv\" or \"medmnist\" for \"own\", got \"{}\"", data.format));
  const bool own = data.split == "own" || data.split == "official";
  require(data.format != "csv" || !own || !data.part_column.empty(), {"data.part_column", "data.split"},
          fmt::format("expected a column for data.split = \"{}\", got nothing", data.split));
  require(data.split != "file" || !data.split_file.empty(), {"data.split_file", "data.split"},
          "expected a file name, got nothing");
  require(data.split != "folds" || !data.folds.empty(), {"data.folds", "data.split"},
          "expected a file name or a number of folds, got nothing");
  if (const auto count = fold_count(config_)) {
    require(*count >= 2, {"data.folds"},
            fmt::format("expected a file name or at least 2 folds, got {}", *count));
    require(data.split != "folds" || data.fold < *count, {"data.fold", "data.folds"},
            fmt::format("expected a fold below {}, got {}", *count, data.fold));
  }
  require(data.split != "random" || data.val_fraction + data.test_fraction < 1.0,
          {"data.val_fraction", "data.test_fraction"},
          fmt::format("expected a sum with data.test_fraction below 1, got {}",
                      data.val_fraction + data.test_fraction));
}

void ConfigBuilder::check_resampling() const {
  const ResampleConfig& resample = config_.resample;
  const auto& allow = config_.guard.allow;
  const bool allowed = std::find(allow.begin(), allow.end(), "resampling") != allow.end();
  require(!resample.before_split || allowed, {"resample.before_split"},
          "guard: resampling before the split tests a network on what it was trained on; guard.allow = "
          "[\"resampling\"] accepts it");
  require(!resample.before_split || resample.method != "none", {"resample.before_split", "resample.method"},
          "expected a resample.method with it, got \"none\"");
  const auto& labels = config_.data.labels;
  require(resample.label.empty() || labels.empty() ||
              std::find(labels.begin(), labels.end(), resample.label) != labels.end(),
          {"resample.label"}, fmt::format("expected one of data.labels, got '{}'", resample.label));
}

void ConfigBuilder::check_images() const {
  const DataConfig& data = config_.data;
  require(data.channels != 2, {"data.channels"}, "expected 1 or 3, got 2");
  const auto fits = [&](const std::vector<double>& values) {
    return values.size() <= 1 || values.size() == static_cast<size_t>(data.channels);
  };
  const auto message = [&](size_t count) {
    return fmt::format("expected one value, or one for each of {} channels, got {}", data.channels, count);
  };
  require(fits(data.mean), {"data.mean", "data.channels"}, message(data.mean.size()));
  require(fits(data.std), {"data.std", "data.channels"}, message(data.std.size()));
}

void ConfigBuilder::check_features() const {
  const FeaturesConfig& features = config_.features;
  for (const std::string& text : features.cuts) {
    const auto cuts = parse_cuts(text);
    require(cuts.has_value(), {"features.cuts"},
            fmt::format("expected a column, a colon and ascending numbers such as \"age: 40 60\", got '{}'",
                        text));
  }
  require(features.discretize != "cuts" || !features.cuts.empty(), {"features.cuts", "features.discretize"},
          "expected cuts for features.discretize = \"cuts\", got none");
  require(features.mode != "none" || config_.model.modalities.image || config_.model.modalities.text,
          {"features.mode", "model.modalities.image"},
          "expected \"top_n\" or \"all\", for the network reads nothing but the table");
}

void ConfigBuilder::check_model() const {
  const ModelConfig& model = config_.model;
  const auto& [dense, pyramid, attention] = model.branches;
  const auto& [image, table, text] = model.modalities;
  require(image || table || text, {"model.modalities.image"},
          "expected at least one of image, table and text, got none");
  if (model.name == "densenet") {
    require(image, {"model.modalities.image", "model.name"}, "expected true for \"densenet\", got false");
    return;
  }
  require(dense || pyramid || attention, {"model.branches.dense"},
          "expected at least one of dense, pyramid and attention, got none");
  require(attention || image, {"model.branches.attention", "model.modalities.image"},
          "expected true, for the other branches need images");
  require(model.dim % 4 == 0, {"model.dim"}, fmt::format("expected a multiple of 4, got {}", model.dim));
  require(model.dim == 0 || model.heads == 0 || model.dim % model.heads == 0, {"model.heads", "model.dim"},
          fmt::format("expected a divisor of model.dim = {}, got {}", model.dim, model.heads));
  const std::set<int64_t> levels(model.token_levels.begin(), model.token_levels.end());
  require(levels.size() == model.token_levels.size(), {"model.token_levels"}, "a level is there twice");
  require(!levels.empty() || !attention || !image, {"model.token_levels"},
          "expected at least one level, got none");
  require(!model.align_corners || model.upsample == "bilinear", {"model.align_corners", "model.upsample"},
          "expected model.upsample = \"bilinear\" with it");
}

void ConfigBuilder::check_train() const {
  const TrainConfig& train = config_.train;
  require(train.epochs == 0 || train.warmup_epochs <= static_cast<double>(train.epochs),
          {"train.warmup_epochs", "train.epochs"},
          fmt::format("expected at most train.epochs = {}, got {}", train.epochs, train.warmup_epochs));
  require(train.epochs == 0 || config_.model.output == "sigmoid", {"model.output", "train.epochs"},
          "expected \"sigmoid\" for training, whose losses take labels as independent; \"softmax\" is for "
          "weights trained elsewhere (train.epochs = 0)");
  require(train.schedule != "cosine" || train.min_learning_rate <= train.learning_rate,
          {"train.min_learning_rate", "train.learning_rate"},
          fmt::format("expected at most train.learning_rate = {}, got {}", train.learning_rate,
                      train.min_learning_rate));
}

void ConfigBuilder::check_evaluation() const {
  const RiskConfig& risk = config_.risk;
  require(risk.low <= risk.high, {"risk.low", "risk.high"},
          fmt::format("expected at most risk.high = {}, got {}", risk.high, risk.low));
  const std::vector<double>& bands = config_.evaluation.age_bands;
  require(std::adjacent_find(bands.begin(), bands.end(), std::greater_equal<>()) == bands.end(),
          {"evaluation.age_bands"}, "expected ascending numbers");
}

Config ConfigBuilder::build() const {
  check_labels();
  check_data();
  check_resampling();
  check_images();
  check_features();
  check_model();
  check_train();
  check_evaluation();
  return config_;
}

}  // namespace medfusion::tools
