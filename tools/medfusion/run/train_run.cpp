// One training run into one run directory: what train does once and cv once per fold.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "core/safetensors.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "optim/freeze.h"
#include "optim/progress.h"
#include "tools/medfusion/run/feature_report.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/initial_weights.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/schema_file.h"
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

// data.json: what the run saw.
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

// The metadata of a checkpoint of this epoch.
Metadata with_epoch(Metadata metadata, int64_t epoch) {
  metadata["epoch"] = std::to_string(epoch);
  return metadata;
}

optim::ProgressOptions progress_options(bool quiet) {
  optim::ProgressOptions options;
  options.quiet = quiet;
  return options;
}

// Progress line, log and files, from the callbacks of the training loop.
class Recorder {
 public:
  Recorder(const TrainingJob& job, const RunDirectory& run, const Metadata& metadata, int64_t batches)
      : job_(job), run_(run), metadata_(metadata), progress_(progress_options(job.quiet), batches) {}

  optim::TrainCallbacks callbacks() {
    optim::TrainCallbacks result;
    result.on_batch = [this](const optim::BatchProgress& p) { batch(p); };
    result.on_epoch = [this](const nlohmann::ordered_json& line) { epoch(line); };
    result.on_checkpoint = [this](const optim::NamedTensors& tensors, bool is_best, int64_t number) {
      core::save_safetensors(run_.checkpoint(is_best ? "best" : "last").string(), tensors,
                             with_epoch(metadata_, number));
      // The last weights are written after the best ones.
      if (!is_best && job_.on_checkpoint) job_.on_checkpoint();
    };
    return result;
  }

 private:
  void batch(const optim::BatchProgress& p) {
    if (p.batch == 1) {
      const std::string prefix = job_.title.empty() ? "" : job_.title + "  ";
      progress_.begin(fmt::format("{}epoch {}/{}", prefix, p.epoch, p.epochs), p.batches);
    }
    progress_.advance(p.samples, p.loss);
  }

  void epoch(const nlohmann::ordered_json& line) {
    progress_.end();
    run_.append_metrics(line);
    std::string text = fmt::format("epoch {}  train loss {:.4f}", line["epoch"].get<int64_t>(),
                                   line["train_loss"].get<double>());
    if (line.contains("val_loss")) {
      const auto& auroc = line["val"]["macro"]["auroc"];
      text += fmt::format("  val loss {:.4f}  val macro AUROC {}", line["val_loss"].get<double>(),
                          auroc.is_null() ? "undefined" : fmt::format("{:.4f}", auroc.get<double>()));
      const auto& left_out = line["val"]["macro"]["left_out"];
      if (left_out.contains("auroc") && !left_out["auroc"].empty() && !auroc.is_null())
        text += fmt::format(" ({} undefined)", left_out["auroc"].size());
    }
    text += fmt::format("  {:.1f} s", line["seconds"].get<double>());
    run_.log(text);
    progress_.note((job_.title.empty() ? "" : job_.title + "  ") + text);
  }

  const TrainingJob& job_;
  const RunDirectory& run_;
  const Metadata& metadata_;
  optim::Progress progress_;
};

// Calibration, thresholds and risk levels of the weights that count, on the validation part.
void fit_validation(const RunDirectory& run, const TrainedRun& trained, const data::Dataset& dataset,
                    data::Loader* validation, Preprocessing& preprocessing) {
  if (validation == nullptr) {
    fit_to_validation(trained.config, nullptr, trained.labels.size(), preprocessing);
    return;
  }
  auto predictions = optim::predict(*trained.network, *validation, trained.config.model.output);
  average_over_gaps(trained, dataset, predictions);
  fit_to_validation(trained.config, &predictions, trained.labels.size(), preprocessing);
  const auto metrics = optim::compute_metrics(predictions.probabilities, predictions.targets, trained.labels,
                                              preprocessing.thresholds, {}, predictions.log_odds);
  run.log("validation macro AUROC of the chosen weights: " + text_of(metrics[optim::Metric::auroc].mean));
}

// What a run holds before it trains: its configuration, its labels, what it saw and fitted, and how its log
// begins.
void write_start(const RunDirectory& run, const Config& config, const data::Dataset& dataset,
                 const data::Splits& splits, const Preprocessing& preprocessing,
                 const TrainingRows& training_rows, const models::Network& network) {
  run.write_config(config);
  run.write_labels(dataset.labels);
  nlohmann::ordered_json data = describe_data(dataset, splits);
  const auto warnings = suspicious_columns(dataset, splits.train);
  data["guard"] = describe_guard(config, dataset, warnings);
  if (config.resample.method != data::ResampleMethod::none) data["resampled"] = training_rows.describe();
  run.write_json("data.json", data);
  run.write_json("preprocessing.json", preprocessing.to_json());
  if (preprocessing.stage_one) run.write_json("features.json", features_json(*preprocessing.stage_one));
  run.log(fmt::format("medfusion {}  {} parameters, {} training rows, {} validation rows, {} threads, {}",
                      MEDFUSION_VERSION, network.parameter_count(), splits.train.size(), splits.val.size(),
                      core::num_threads(), core::name_of(network.device().type)));
  for (const auto& [operation, variant] : kernels::kernel_overrides())
    run.log(fmt::format("kernel: {}={}", operation, variant));
  for (const auto& note : dataset.notes) run.log("note: " + note);
  for (const auto& warning : warnings) run.log("warning: " + warning);
}

bool has_known(const Tensor& targets) {
  for (int64_t i = 0; i < targets.numel(); ++i) {
    if (!std::isnan(targets.at(i))) return true;
  }
  return false;
}

}  // namespace

optim::TrainResult train_run(const TrainingJob& asked, const data::Dataset& dataset,
                             const data::Splits& splits, const RunDirectory& run) {
  TrainingJob job = asked;
  job.config.model.output = output_of(asked.config, dataset);
  const Config& config = job.config;
  refuse_leaks(config, dataset, splits);
  Preprocessing preprocessing = Preprocessing::fit(config, dataset, splits.train);
  // A run that is cut off keeps this.
  fit_to_validation(config, nullptr, dataset.labels.size(), preprocessing, kInterrupted);
  const TrainingRows training_rows = resample_training(config, dataset, preprocessing, splits.train);
  const core::Batch& encoded = training_rows.encoded;
  const auto network = make_network(config, dataset.labels, preprocessing, job.device);
  optim::freeze(*network, config.train.freeze, "train.freeze");
  write_start(run, config, dataset, splits, preprocessing, training_rows, *network);
  write_schema(run, schema_of(config, dataset, splits, preprocessing), !job.quiet && job.title.empty());
  const Tensor targets = targets_of(training_rows.dataset, training_rows.rows);
  const Metadata metadata = weights_metadata(config, dataset.labels, preprocessing);
  initialize(*network, job, targets, metadata, run);
  if (config.train.epochs > 0 && !has_known(targets)) {
    core::throw_input_error({config.data.folder().string()}, "no row of the training part has a known label");
  }

  optim::TrainOptions options = config.train;
  options.step.seed = static_cast<uint64_t>(config.seed);
  options.step.loss.exclusive = config.model.output == optim::Output::softmax;
  if (options.step.precision != optim::Precision::f32 && network->device().type == core::DeviceType::cpu) {
    core::throw_input_error({},
                            "train.precision: expected f32 on the cpu (the others need "
                            "--device cuda or sim), got {}",
                            core::text_of(options.step.precision));
  }
  optim::TrainResult result;
  const auto validation =
      splits.val.empty() ? nullptr : make_loader(config, training_rows.dataset, encoded, splits.val, false);
  if (options.epochs == 0) {
    for (const char* which : {"best", "last"}) {
      core::save_safetensors(run.checkpoint(which).string(), optim::weights_of(*network),
                             with_epoch(metadata, 0));
    }
    if (job.on_checkpoint) job.on_checkpoint();
  } else {
    const auto training = make_loader(config, training_rows.dataset, encoded, training_rows.rows, true);
    Recorder recorder(job, run, metadata, options.epochs * training->batches());
    result = optim::train(*network, *training, targets, validation.get(), dataset.labels, options,
                          recorder.callbacks());
  }
  const TrainedRun trained = TrainedRun::open(run, job.device);
  fit_validation(run, trained, dataset, validation.get(), preprocessing);
  preprocessing.weights = trained.preprocessing.weights;
  run.write_json("preprocessing.json", preprocessing.to_json());
  run.log(fmt::format("finished after {} epochs{}", result.epochs_run,
                      result.stopped_early ? ", stopped early" : ""));
  return result;
}

}  // namespace medfusion::tools
