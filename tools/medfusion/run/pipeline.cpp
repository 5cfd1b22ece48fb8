#include "tools/medfusion/run/pipeline.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "models/backbone.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/checkpoints.h"

namespace medfusion::tools {

using core::Tensor;

Preprocessing Preprocessing::fit(const Config& config, const data::Dataset& dataset,
                                 const std::vector<int64_t>& rows) {
  Preprocessing result;
  const bool plain = config.model.name != "medfusionnet";
  if (plain && config.model.fusion == models::Fusion::none) return result;
  const data::FeatureOptions options = to_feature_options(config);
  if (config.model.modalities.table && options.mode != data::FeatureMode::none && !dataset.columns.empty()) {
    result.table = data::TableEncoder::fit(dataset.columns, rows, config.data.log_columns, options.impute);
    result.stage_one = data::StageOne::fit(*result.table, dataset, rows, options);
    if (options.mode == data::FeatureMode::top_n) {
      result.selection = data::TableSelection::selected(*result.stage_one, *result.table);
    } else if (options.bins_by() != data::Discretization::none) {
      result.selection = data::TableSelection::all(*result.stage_one, *result.table);
    }
  }
  if (!plain && config.model.modalities.text && !dataset.texts.empty()) {
    const data::TextOptions& text = config.data.text;
    result.text = data::Tokenizer::fit(dataset.texts, rows, text.min_count, text.length);
  }
  return result;
}

core::Batch Preprocessing::encode(const data::Dataset& dataset) const {
  core::Batch encoded;
  if (table) encoded.table = tokens_of(table->encode(dataset.columns));
  if (text) {
    const bool present = !dataset.texts.empty();
    encoded.text = text->encode(present ? dataset.texts : std::vector<std::string>(dataset.ids.size()));
  }
  return encoded;
}

core::Batch Preprocessing::encode_missing(int64_t rows) const {
  core::Batch encoded;
  if (table) encoded.table = tokens_of(table->encode_missing(rows));
  if (text) encoded.text = Tensor::zeros({rows, text->max_length()}, core::DType::i64);
  return encoded;
}

int64_t Preprocessing::table_features() const {
  return selection ? selection->features() : table ? table->features() : 0;
}

std::vector<std::string> Preprocessing::token_names() const {
  if (!table) return {};
  return selection ? selection->feature_names(*table) : table->feature_names();
}

std::vector<int64_t> Preprocessing::token_features() const {
  if (selection) return selection->kept();
  std::vector<int64_t> all(static_cast<size_t>(table_features()));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

// The features that become tokens.
core::Table Preprocessing::tokens_of(const core::Table& rows) const {
  if (table_features() == 0) return {};
  return selection ? selection->apply(rows) : rows;
}

nlohmann::ordered_json Preprocessing::to_json() const {
  nlohmann::ordered_json json;
  json["table"] = table ? nlohmann::ordered_json(table->to_json()) : nlohmann::ordered_json();
  json["features"] =
      selection ? nlohmann::ordered_json(selection->to_json(*table)) : nlohmann::ordered_json();
  json["text"] = text ? nlohmann::ordered_json(text->to_json()) : nlohmann::ordered_json();
  json["thresholds"] = nlohmann::ordered_json::array();
  for (const auto& threshold : thresholds) {
    nlohmann::ordered_json entry;
    entry["value"] =
        threshold.defined() ? nlohmann::ordered_json(*threshold.value) : nlohmann::ordered_json();
    if (!threshold.defined()) entry["undefined"] = threshold.reason;
    json["thresholds"].push_back(entry);
  }
  json["calibration"] = nlohmann::ordered_json::array();
  for (const Calibrator& calibrator : calibration) json["calibration"].push_back(calibrator.to_json());
  json["risk"] = nlohmann::ordered_json::array();
  for (const RiskCutoffs& cutoffs : risk) json["risk"].push_back(cutoffs.to_json());
  json["weights"] = weights;
  return json;
}

Preprocessing Preprocessing::from_json(const nlohmann::ordered_json& json, const std::string& file) {
  Preprocessing result;
  try {
    if (!json.at("table").is_null()) {
      result.table = data::TableEncoder::from_json(nlohmann::json::parse(json.at("table").dump()), file);
    }
    if (result.table && json.contains("features") && !json.at("features").is_null()) {
      result.selection = data::TableSelection::from_json(nlohmann::json::parse(json.at("features").dump()),
                                                         *result.table, file);
    }
    if (!json.at("text").is_null()) {
      result.text = data::Tokenizer::from_json(nlohmann::json::parse(json.at("text").dump()), file);
    }
    for (const auto& entry : json.at("thresholds")) {
      result.thresholds.push_back(
          entry.at("value").is_null()
              ? optim::MetricValue::undefined(entry.at("undefined").get<std::string>())
              : optim::MetricValue::of(entry.at("value").get<double>()));
    }
    for (const auto& entry : json.at("calibration"))
      result.calibration.push_back(Calibrator::from_json(entry, file));
    for (const auto& entry : json.at("risk")) result.risk.push_back(RiskCutoffs::from_json(entry));
    result.weights = json.value("weights", "");
    if (!result.weights.empty() && result.weights != "best" && result.weights != "last")
      core::throw_input_error({file}, "weights: expected best, last or nothing");
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({file},
                            "expected table, text, thresholds, calibration and risk as train writes them");
  }
  return result;
}

std::unique_ptr<models::Network> make_network(const Config& config, const std::vector<std::string>& labels,
                                              const Preprocessing& preprocessing, core::Device device) {
  models::NetworkOptions options;
  static_cast<models::ModelOptions&>(options) = config.model;
  options.device = device;
  options.labels = static_cast<int64_t>(labels.size());
  options.image_channels = config.data.image.channels;
  options.table_features = preprocessing.table_features();
  if (options.table_features > 0 && preprocessing.selection) {
    options.selection = preprocessing.selection->mask();
    options.table_bins = preprocessing.selection->bins();
  }
  options.other_images = !config.data.group_images.empty() && config.model.modalities.image;
  options.vocabulary = preprocessing.text ? preprocessing.text->vocabulary_size() : 0;
  options.text_length = preprocessing.text ? preprocessing.text->max_length() : 0;
  if (preprocessing.selection && options.table_features == 0 && !options.modalities.image &&
      options.vocabulary == 0) {
    core::throw_input_error({},
                            "features: stage one selected no feature for any label at "
                            "features.alpha = {}, and the network reads nothing else",
                            config.features.alpha);
  }
  return models::make_network(options);
}

std::unique_ptr<data::Loader> make_loader(const Config& config, const data::Dataset& dataset,
                                          const core::Batch& encoded, const std::vector<int64_t>& rows,
                                          bool training, const core::Communicator* ranks, int64_t copy) {
  data::LoaderOptions options = to_loader_options(config, training);
  if (copy > 0) {
    constexpr uint64_t kCopyKey = 0x636F70696573U;  // keeps these draws apart from those of training
    options.augment = config.augment;
    options.seed ^= kCopyKey + static_cast<uint64_t>(copy);
  }
  options.use_images = options.use_images && dataset.images != nullptr;
  const int64_t side = models::last_side(config.model, config.data.image.size);
  const int64_t step = models::image_step(config.model);
  if (options.use_images && config.data.image.size % step != 0)
    core::throw_input_error({}, "data.image_size: expected a multiple of {} for vit_small, got {}", step,
                            config.data.image.size);
  const int64_t largest = std::min(config.train.batch_size, static_cast<int64_t>(rows.size()));
  const int64_t shards = training ? config.train.step.shards : 1;
  if (training && options.use_images && largest < 2 * shards && side <= 1) {
    core::throw_input_error({},
                            "train.batch_size: expected {1} of at least 2 rows, for the last block sees one "
                            "pixel of images of {0} x {0}, and one value has no batch statistics; got {2}",
                            config.data.image.size,
                            shards == 1 ? "batches" : fmt::format("{} shards", shards), largest);
  }
  // A last batch of one row would have no batch statistics, and neither would a shard of one row and pixel.
  const auto last = static_cast<int64_t>(rows.size()) % config.train.batch_size;
  const bool too_small = shards == 1 ? last == 1 : last > 0 && last < 2 * shards && side <= 1;
  const bool meets = shards > 1 && config.train.step.batch_statistics == optim::BatchStatistics::batch;
  const bool too_few = meets && last > 0 && last < shards;  // every shard has a row where they meet
  options.drop_last = training && (too_small || too_few) && static_cast<int64_t>(rows.size()) > last;
  if (training) options.plan = {shards, 0, 1};
  if (ranks != nullptr) options.plan = {training ? shards : ranks->size(), ranks->rank(), ranks->size()};
  options.whole_batches = !training && ranks != nullptr;
  return std::make_unique<data::Loader>(dataset, rows, encoded, options);
}

Tensor targets_of(const data::Dataset& dataset, const std::vector<int64_t>& rows) {
  Tensor result = Tensor::empty({static_cast<int64_t>(rows.size()), dataset.targets.size(1)});
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    result.slice(0, at, at + 1).copy_from(dataset.targets.slice(0, rows[i], rows[i] + 1));
  }
  return result;
}

TrainedRun TrainedRun::open(const RunDirectory& run, core::Device device) {
  TrainedRun result;
  result.config = run.read_config();
  result.labels = run.read_labels();
  result.preprocessing =
      Preprocessing::from_json(run.read_json("preprocessing.json"), run.file("preprocessing.json").string());
  const auto& [thresholds, calibration, risk] =
      std::tie(result.preprocessing.thresholds, result.preprocessing.calibration, result.preprocessing.risk);
  const size_t labels = result.labels.size();
  if (thresholds.size() != labels || calibration.size() != labels || risk.size() != labels) {
    core::throw_input_error(
        {run.file("preprocessing.json").string()},
        "expected a threshold, a calibration and risk levels for each of the {} labels, got "
        "{}, {} and {}",
        labels, thresholds.size(), calibration.size(), risk.size());
  }
  result.network = make_network(result.config, result.labels, result.preprocessing, device);
  std::string& weights = result.preprocessing.weights;
  if (weights.empty()) {
    const bool best = result.config.train.select == optim::Checkpoint::best &&
                      std::filesystem::exists(run.checkpoint("best"));
    weights = best ? "best" : "last";
  }
  const std::string path = run.existing_checkpoint(weights).string();
  Metadata metadata;
  optim::load_weights(*result.network, load_own_weights(path, metadata, weights), path);
  return result;
}

optim::Metrics metrics_of(const optim::Predictions& predictions, const TrainedRun& run) {
  const bool softmax = run.config.model.output == optim::Output::softmax;
  return optim::compute_metrics(
      predictions.probabilities, predictions.targets, run.labels, run.preprocessing.thresholds,
      softmax ? optim::most_probable(predictions.probabilities) : Tensor(), predictions.log_odds);
}

optim::Output output_of(const Config& config, const data::Dataset& dataset) {
  optim::Output output = config.model.output;
  if (output == optim::Output::automatic)
    output = dataset.exclusive ? optim::Output::softmax : optim::Output::sigmoid;
  if (output == optim::Output::sigmoid) return output;
  if (config.train.epochs > 0 && !dataset.exclusive) {
    core::throw_input_error({},
                            "model.output: expected \"auto\" or \"sigmoid\", for the data does not say that "
                            "exactly one label is true (data.exclusive, data.class_column); got \"softmax\"");
  }
  if (config.train.step.loss.kind != layers::LossKind::bce) {
    core::throw_input_error(
        {},
        "train.loss: expected \"bce\" where exactly one label is true, got \"{}\"; model.output = "
        "\"sigmoid\" takes labels as independent",
        core::text_of(config.train.step.loss.kind));
  }
  if (config.calibration.method == CalibrationMethod::isotonic) {
    core::throw_input_error({},
                            "calibration.method: expected \"temperature\" or \"none\" where exactly one "
                            "label is true, got \"isotonic\"; model.output = \"sigmoid\" takes labels as "
                            "independent");
  }
  return output;
}

}  // namespace medfusion::tools
