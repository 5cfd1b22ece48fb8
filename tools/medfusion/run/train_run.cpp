// One training run into one run directory: what train does once and cv once per fold.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>

#include "core/safetensors.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "optim/freeze.h"
#include "optim/state.h"
#include "tools/medfusion/run/feature_report.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/initial_weights.h"
#include "tools/medfusion/run/interruption.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/recorder.h"
#include "tools/medfusion/run/resume.h"
#include "tools/medfusion/run/schema_file.h"
#include "tools/medfusion/run/skipped_rows.h"
#include "tools/medfusion/run/training_rows.h"
#include "tools/medfusion/run/weights_metadata.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

std::string text_of(const optim::MetricValue& value) {
  return value.defined() ? fmt::format("{:.4f}", *value.value) : "undefined (" + value.reason + ")";
}

std::set<std::string> patients_of(const data::Dataset& dataset, const std::vector<int64_t>& rows) {
  std::set<std::string> patients;
  for (const int64_t row : rows) patients.insert(dataset.patients[static_cast<size_t>(row)]);
  return patients;
}

}  // namespace

nlohmann::ordered_json describe_data(const data::Dataset& dataset, const data::Splits& splits) {
  const auto hash_rows = [&](const std::vector<int64_t>& rows) {
    std::string ids;
    for (const int64_t row : rows) ids += dataset.ids[static_cast<size_t>(row)] + "\n";
    return fmt::format("{:016x}", XXH64(ids.data(), ids.size(), 0));
  };
  nlohmann::ordered_json json;
  json["version"] = MEDFUSION_VERSION;
  json["dataset"] = dataset.name;
  json["data_hash"] = fmt::format("{:016x}", dataset.hash);
  json["rows"] = dataset.size();
  const std::pair<const char*, const std::vector<int64_t>*> parts[] = {
      {"train", &splits.train}, {"val", &splits.val}, {"test", &splits.test}};
  for (const auto& [name, rows] : parts) {
    json["parts"][name]["rows"] = rows->size();
    json["parts"][name]["patients"] = patients_of(dataset, *rows).size();
    json["parts"][name]["ids_hash"] = hash_rows(*rows);
  }
  for (size_t a = 0; a < std::size(parts); ++a) {
    for (size_t b = a + 1; b < std::size(parts); ++b) {
      const auto first = patients_of(dataset, *parts[a].second),
                 second = patients_of(dataset, *parts[b].second);
      const auto shared = std::count_if(first.begin(), first.end(),
                                        [&](const std::string& patient) { return second.contains(patient); });
      json["shared_patients"][fmt::format("{} and {}", parts[a].first, parts[b].first)] = shared;
    }
  }
  json["train_positives"] = positives_of(dataset, splits.train);
  return json;
}

namespace {

// Calibration, thresholds and risk levels of the weights that count, on the validation part.
void fit_validation(const TrainingJob& job, const RunDirectory& run, const TrainedRun& trained,
                    const data::Dataset& dataset, data::Loader* validation, Preprocessing& preprocessing) {
  if (validation == nullptr) {
    fit_to_validation(trained.config, nullptr, trained.labels.size(), preprocessing);
    return;
  }
  const auto on_batch = [&job](int64_t) {
    if (job.ranks == nullptr && job.should_stop()) throw_interrupted(job, "while thresholds were fitted");
  };
  auto predictions =
      optim::predict(*trained.network, *validation, trained.config.model.output, on_batch, job.ranks);
  average_over_copies(trained, dataset, predictions, job.ranks);
  if (!is_speaker()) return;
  average_over_gaps(trained, dataset, predictions);
  fit_to_validation(trained.config, &predictions, trained.labels.size(), preprocessing);
  const auto metrics = optim::compute_metrics(predictions.probabilities, predictions.targets, trained.labels,
                                              preprocessing.thresholds, {}, predictions.log_odds);
  run.log("validation macro AUROC of the chosen weights: " + text_of(metrics[optim::Metric::auroc].mean));
}

// What a run holds before it trains: what it saw and fitted, and how it was started. config.toml comes last.
std::vector<std::string> write_start(const RunDirectory& run, const TrainingJob& job,
                                     const data::Dataset& dataset, const data::Splits& splits,
                                     const Preprocessing& preprocessing, const TrainingRows& training_rows,
                                     nlohmann::ordered_json data) {
  const Config& config = job.config;
  auto warnings = suspicious_columns(dataset, splits.train);
  data["guard"] = describe_guard(config, dataset, warnings);
  if (config.resample.method != data::ResampleMethod::none) data["resampled"] = training_rows.describe();
  data["start"] = describe_start(job);
  run.begin_start();
  run.write_labels(dataset.labels);
  run.write_json("data.json", data);
  run.write_json("preprocessing.json", preprocessing.to_json());
  write_skipped(run, dataset);
  if (preprocessing.stage_one) run.write_json("features.json", features_json(*preprocessing.stage_one));
  write_schema(run, schema_of(config, dataset, splits, preprocessing), !job.quiet && job.title.empty());
  run.end_start(config);
  return warnings;
}

// How the log begins.
void log_start(const RunDirectory& run, const data::Dataset& dataset, const data::Splits& splits,
               const models::Network& network, const std::vector<std::string>& warnings) {
  run.log(fmt::format("medfusion {}  {} parameters, {} training rows, {} validation rows, {} threads, {}",
                      MEDFUSION_VERSION, network.parameter_count(), splits.train.size(), splits.val.size(),
                      core::num_threads(), core::name_of(network.device().type)));
  for (const auto& [operation, variant] : kernels::kernel_overrides())
    run.log(fmt::format("kernel: {}={}", operation, variant));
  for (const auto& note : dataset.notes) run.log("note: " + note);
  for (const auto& warning : warnings) run.log("warning: " + warning);
}

// Ranks that disagree would train something that nobody asked for.
void check_same_on_ranks(const TrainingJob& job, const nlohmann::ordered_json& data) {
  if (job.ranks == nullptr) return;
  const std::string config = to_toml(job.config);
  tools::check_same_on_ranks(*job.ranks, "the version", MEDFUSION_VERSION);
  tools::check_same_on_ranks(*job.ranks, "the configuration (its hash)",
                             fmt::format("{:016x}", XXH64(config.data(), config.size(), 0)));
  tools::check_same_on_ranks(*job.ranks, "the hash of the data", data["data_hash"].get<std::string>());
}

bool has_known(const Tensor& targets) {
  for (int64_t i = 0; i < targets.numel(); ++i) {
    if (!std::isnan(targets.at(i))) return true;
  }
  return false;
}

// MixUp has no meaning for words and bins, and a table that is mixed no longer says what is missing.
void check_mixup(const Config& config, const Preprocessing& preprocessing) {
  const bool plain = config.model.name != "medfusionnet";
  const bool table =
      preprocessing.table_features() > 0 && (!plain || config.model.fusion != models::Fusion::none);
  const bool text = preprocessing.text.has_value() && !plain;
  const bool others = !config.data.group_images.empty();
  if (config.train.mixup > 0.0 && (table || text || others)) {
    core::throw_input_error({}, "train.mixup: expected 0 for a network that reads {}, got {}",
                            table  ? "a table"
                            : text ? "text"
                                   : "two images (data.group_images)",
                            config.train.mixup);
  }
}

// What train() takes besides the configuration.
optim::TrainOptions train_options(const Config& config, const models::Network& network) {
  optim::TrainOptions options = config.train;
  options.step.seed = static_cast<uint64_t>(config.seed);
  options.step.loss.exclusive = config.model.output == optim::Output::softmax;
  if (options.step.precision != optim::Precision::f32 && network.device().type == core::DeviceType::cpu) {
    core::throw_input_error({},
                            "train.precision: expected f32 on the cpu (the others need "
                            "--device cuda or sim), got {}",
                            core::text_of(options.step.precision));
  }
  const std::string& own = config.model.name == "medfusionnet" ? config.model.backbone : config.model.name;
  if (options.step.precision == optim::Precision::bf16 && own != "densenet") {
    core::throw_input_error({}, "train.precision: expected f32 or tf32 for {}, which has no bf16, got bf16",
                            own);
  }
  return options;
}

// A run without training: the initial weights.
void write_initial_weights(const TrainingJob& job, const RunDirectory& run, const models::Network& network,
                           const Metadata& metadata) {
  if (!is_speaker()) return;
  optim::check_finite(optim::weights_of(network), "initial weights");
  for (const char* which : {"best", "last"}) {
    core::save_safetensors(run.checkpoint(which).string(), optim::weights_of(network),
                           metadata_of_weights(metadata, 0, which));
  }
  if (job.on_checkpoint) job.on_checkpoint();
}

// Trains from the state, or from the beginning.
optim::TrainResult train_network(const TrainingJob& job, const RunDirectory& run, models::Network& network,
                                 const TrainingRows& rows, data::Loader* validation, const Tensor& targets,
                                 const Metadata& metadata, const Checkpoints& checkpoints,
                                 const std::optional<optim::TrainState>& from) {
  const optim::TrainOptions options = train_options(job.config, network);
  const auto training = make_loader(job.config, rows.dataset, rows.encoded, rows.rows, true, job.ranks);
  const int64_t done = from ? from->steps : 0;
  Recorder recorder(job, run, metadata, checkpoints,
                    std::max<int64_t>(1, options.epochs * training->batches() - done));
  optim::TrainCallbacks callbacks = recorder.callbacks();
  callbacks.row_name = [&rows](int64_t row) { return rows.dataset.ids[static_cast<size_t>(row)]; };
  const optim::TrainResult result = optim::train(network, *training, targets, validation, rows.dataset.labels,
                                                 options, callbacks, from ? &*from : nullptr, job.ranks);
  recorder.finish();
  if (job.ranks != nullptr) job.ranks->barrier();  // rank 0 has written the weights
  return result;
}

}  // namespace

optim::TrainResult train_run(const TrainingJob& asked, const data::Dataset& dataset,
                             const data::Splits& splits, const RunDirectory& run) {
  TrainingJob job = asked;
  job.config.model.output = output_of(asked.config, dataset);
  job.should_stop = [] { return SignalWatch::caught() != 0; };
  const Config& config = job.config;
  refuse_leaks(config, dataset, splits);
  Preprocessing preprocessing = Preprocessing::fit(config, dataset, splits.train);
  // A run that is cut off keeps this.
  fit_to_validation(config, nullptr, dataset.labels.size(), preprocessing, kInterrupted);
  check_mixup(config, preprocessing);
  const TrainingRows training_rows = resample_training(config, dataset, preprocessing, splits.train);
  const auto network = make_network(config, dataset.labels, preprocessing, job.device);
  optim::freeze(*network, config.train.freeze, "train.freeze");
  const Tensor targets = targets_of(training_rows.dataset, training_rows.rows);
  if (config.train.epochs > 0 && !has_known(targets)) {
    core::throw_input_error({config.data.folder().string()}, "no row of the training part has a known label");
  }
  const Metadata metadata = weights_metadata(config, dataset.labels, preprocessing);
  const Checkpoints checkpoints(run, metadata, identity_of(config, dataset), config.train.keep_checkpoints);
  nlohmann::ordered_json data = describe_data(dataset, splits);
  std::optional<optim::TrainState> from;
  if (job.resume) {  // what is refused here has changed no file
    check_same_data(run, data);
    from = find_state(job, run, checkpoints);
  }
  check_same_on_ranks(job, data);
  const auto warnings = write_start(run, job, dataset, splits, preprocessing, training_rows, std::move(data));
  log_start(run, dataset, splits, *network, warnings);
  const SignalWatch watch(job.quiet);
  if (!from) initialize(*network, job, training_rows, targets, metadata, run);

  optim::TrainResult result;
  const auto validation =
      splits.val.empty()
          ? nullptr
          : make_loader(config, training_rows.dataset, training_rows.encoded, splits.val, false, job.ranks);
  if (config.train.epochs == 0) {
    train_options(config, *network);  // refuses what training would
    write_initial_weights(job, run, *network, metadata);
    if (job.ranks != nullptr) job.ranks->barrier();
  } else {
    result = train_network(job, run, *network, training_rows, validation.get(), targets, metadata,
                           checkpoints, from);
    if (result.interrupted) throw_interrupted(job, fmt::format("after epoch {}", result.epochs_run));
  }
  const TrainedRun trained = TrainedRun::open(run, job.device);
  fit_validation(job, run, trained, dataset, validation.get(), preprocessing);
  preprocessing.weights = trained.preprocessing.weights;
  run.write_json("preprocessing.json", preprocessing.to_json());
  run.log(fmt::format("finished after epoch {}{}", result.epochs_run,
                      result.stopped_early ? ", stopped early" : ""));
  return result;
}

}  // namespace medfusion::tools
