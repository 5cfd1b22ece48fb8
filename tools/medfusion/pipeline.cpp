#include "tools/medfusion/pipeline.h"

#include <cmath>

#include "core/safetensors.h"
#include "tools/medfusion/common.h"
#include "tools/medfusion/text_file.h"

namespace medfusion::tools {

using core::Tensor;

optim::TrainOptions to_train_options(const Config& config) {
  const TrainConfig& t = config.train;
  optim::TrainOptions options;
  options.epochs = t.epochs;
  options.optimizer = t.optimizer;
  options.learning_rate = t.learning_rate;
  options.min_learning_rate = t.min_learning_rate;
  options.warmup_epochs = t.warmup_epochs;
  options.cosine = t.schedule == "cosine";
  options.weight_decay = t.weight_decay;
  options.momentum = t.momentum;
  options.beta1 = t.beta1;
  options.beta2 = t.beta2;
  options.clip_norm = t.clip_norm;
  options.graph = t.graph;
  options.precision = t.precision == "bf16"   ? optim::Precision::bf16
                      : t.precision == "tf32" ? optim::Precision::tf32
                                              : optim::Precision::f32;
  options.ema_decay = t.ema_decay;
  options.loss = t.loss == "focal"        ? optim::LossKind::focal
                 : t.loss == "asymmetric" ? optim::LossKind::asymmetric
                                          : optim::LossKind::bce;
  options.positive_weight = t.pos_weight == "balanced" ? optim::PositiveWeight::balanced
                            : t.pos_weight == "sqrt"   ? optim::PositiveWeight::sqrt
                                                       : optim::PositiveWeight::none;
  options.label_smoothing = t.label_smoothing;
  options.focal_gamma = t.focal_gamma;
  options.asymmetric_gamma_negative = t.asl_gamma_neg;
  options.asymmetric_gamma_positive = t.asl_gamma_pos;
  options.asymmetric_clip = t.asl_clip;
  options.early_stopping = t.early_stopping;
  options.eval_every = t.eval_every;
  options.seed = static_cast<uint64_t>(config.seed);
  options.output = output_of(config);
  return options;
}

optim::Output output_of(const Config& config) {
  return config.model.output == "softmax" ? optim::Output::softmax : optim::Output::sigmoid;
}

Preprocessing Preprocessing::fit(const Config& config, const data::Dataset& dataset,
                                 const std::vector<int64_t>& rows) {
  Preprocessing result;
  if (config.model.name != "medfusionnet") return result;
  const FeaturesConfig& features = config.features;
  if (config.model.modalities.table && features.mode != "none" && !dataset.columns.empty()) {
    result.table = data::TableEncoder::fit(
        dataset.columns, rows, config.data.log_columns,
        features.impute == "median" ? data::Imputation::median : data::Imputation::none);
    const data::FeatureOptions options = to_feature_options(config);
    result.stage_one = data::StageOne::fit(*result.table, dataset, rows, options);
    if (features.mode == "top_n") {
      result.selection = data::TableSelection::selected(*result.stage_one, *result.table);
    } else if (options.discretize != data::Discretization::none) {
      result.selection = data::TableSelection::all(*result.stage_one, *result.table);
    }
  }
  if (config.model.modalities.text && !dataset.texts.empty()) {
    result.text =
        data::Tokenizer::fit(dataset.texts, rows, config.data.text_min_count, config.data.text_length);
  }
  return result;
}

data::EncodedRows Preprocessing::encode(const data::Dataset& dataset) const {
  data::EncodedRows encoded;
  if (table) put_table(table->encode(dataset.columns), encoded);
  if (text) {
    const bool present = !dataset.texts.empty();
    encoded.tokens = text->encode(present ? dataset.texts : std::vector<std::string>(dataset.ids.size()));
  }
  return encoded;
}

data::EncodedRows Preprocessing::encode_missing(int64_t rows) const {
  data::EncodedRows encoded;
  if (table) put_table(table->encode_missing(rows), encoded);
  if (text) encoded.tokens = Tensor::zeros({rows, text->max_length()}, core::DType::i64);
  return encoded;
}

int64_t Preprocessing::table_features() const {
  return selection ? selection->features() : table ? table->features() : 0;
}

// The part of the rows that becomes tokens.
void Preprocessing::put_table(const data::EncodedTable& rows, data::EncodedRows& encoded) const {
  if (table_features() == 0) return;
  if (!selection) {
    encoded.table = rows.values;
    encoded.table_missing = rows.missing;
    return;
  }
  const data::SelectedTable selected = selection->apply(rows);
  encoded.table = selected.values;
  encoded.table_missing = selected.missing;
  encoded.table_bins = selected.bins;
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
      result.calibration.push_back(Calibrator::from_json(entry));
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
                                              const Preprocessing& preprocessing) {
  const ModelConfig& m = config.model;
  models::NetworkOptions options;
  options.name = m.name;
  options.device = chosen_device();
  options.size = m.size;
  options.labels = static_cast<int64_t>(labels.size());
  options.image_channels = config.data.channels;
  options.image = m.modalities.image;
  options.table_features = preprocessing.table_features();
  if (options.table_features > 0 && preprocessing.selection) {
    options.selection = preprocessing.selection->mask();
    options.table_bins = preprocessing.selection->bins();
  }
  options.vocabulary = preprocessing.text ? preprocessing.text->vocabulary_size() : 0;
  options.text_length = preprocessing.text ? preprocessing.text->max_length() : 0;
  options.dense_branch = m.branches.dense;
  options.pyramid_branch = m.branches.pyramid;
  options.attention_branch = m.branches.attention;
  options.dim = m.dim;
  options.heads = m.heads;
  options.layers = m.layers;
  options.mlp_ratio = m.mlp_ratio;
  options.pyramid_channels = m.pyramid_channels;
  options.token_levels = m.token_levels;
  options.text_mean = m.text_tokens == "mean";
  options.bilinear = m.upsample == "bilinear";
  options.align_corners = m.align_corners;
  options.dropout = m.dropout;
  options.modality_dropout = m.modality_dropout;
  if (preprocessing.selection && options.table_features == 0 && !options.image && options.vocabulary == 0) {
    core::throw_input_error({}, fmt::format("features: stage one selected no feature for any label at "
                                            "features.alpha = {}, and the network reads nothing else",
                                            config.features.alpha));
  }
  return models::make_network(options);
}

std::unique_ptr<data::Loader> make_loader(const Config& config, const data::Dataset& dataset,
                                          const data::EncodedRows& encoded, const std::vector<int64_t>& rows,
                                          bool training) {
  data::LoaderOptions options = to_loader_options(config, training);
  options.use_images = options.use_images && dataset.images != nullptr;
  // A last batch of one row would have no batch statistics.
  options.drop_last = training && static_cast<int64_t>(rows.size()) % config.train.batch_size == 1 &&
                      static_cast<int64_t>(rows.size()) > 1;
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

TrainedRun TrainedRun::open(const RunDirectory& run) {
  TrainedRun result;
  result.config = run.read_config();
  result.labels = run.read_labels();
  result.preprocessing =
      Preprocessing::from_json(run.read_json("preprocessing.json"), run.file("preprocessing.json").string());
  result.network = make_network(result.config, result.labels, result.preprocessing);
  std::string& weights = result.preprocessing.weights;
  if (weights.empty()) {
    const bool best = result.config.train.select == "best" && std::filesystem::exists(run.checkpoint("best"));
    weights = best ? "best" : "last";
  }
  const std::string path = run.existing_checkpoint(weights).string();
  optim::load_weights(*result.network, core::load_safetensors(path), path, true);
  return result;
}

optim::Metrics metrics_of(const optim::Predictions& predictions, const TrainedRun& run) {
  return optim::compute_metrics(predictions.probabilities, predictions.targets, run.labels,
                                run.preprocessing.thresholds);
}

}  // namespace medfusion::tools
