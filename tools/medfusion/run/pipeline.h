// From a configuration to what train, eval, predict and cv work with.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/open.h"
#include "data/table/table_encoder.h"
#include "data/table/table_selection.h"
#include "data/text/tokenizer.h"
#include "models/network.h"
#include "optim/loop.h"
#include "optim/metrics.h"
#include "optim/predict.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/risk_levels.h"
#include "tools/medfusion/config/options.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {

// What was fitted to the training part, and to the validation part: calibration, thresholds, risk levels.
struct Preprocessing {
  std::optional<data::TableEncoder> table;
  std::optional<data::StageOne> stage_one;        // not part of the JSON; the run has it in features.json
  std::optional<data::TableSelection> selection;  // where not every feature is a token, or tokens have bins
  std::optional<data::Tokenizer> text;
  // One per label; empty before they are chosen. Thresholds and cut-offs are of calibrated probabilities.
  std::vector<Calibrator> calibration;
  std::vector<optim::MetricValue> thresholds;
  std::vector<RiskCutoffs> risk;
  std::string weights;  // the checkpoint that they were fitted to, "best" or "last"; empty before

  static Preprocessing fit(const Config& config, const data::Dataset& dataset,
                           const std::vector<int64_t>& rows);
  core::Batch encode(const data::Dataset& dataset) const;
  // The same for rows of which only the image is known.
  core::Batch encode_missing(int64_t rows) const;
  // Tokens that the table gives, and the features that they are made of.
  int64_t table_features() const;
  std::vector<std::string> token_names() const;
  // Of each of them its place among the encoder's features.
  std::vector<int64_t> token_features() const;
  // The form of preprocessing.json; `file` is the name that errors carry.
  nlohmann::ordered_json to_json() const;
  static Preprocessing from_json(const nlohmann::ordered_json& json, const std::string& file);

 private:
  core::Table tokens_of(const core::Table& rows) const;
};

std::unique_ptr<models::Network> make_network(const Config& config, const std::vector<std::string>& labels,
                                              const Preprocessing& preprocessing, core::Device device);

// A loader over `rows`: shuffled and augmented for training, else in order; of the images as they are, or
// with a `copy` from 1 on changed as in training, each copy by draws of its own.
std::unique_ptr<data::Loader> make_loader(const Config& config, const data::Dataset& dataset,
                                          const core::Batch& encoded, const std::vector<int64_t>& rows,
                                          bool training, const core::Communicator* ranks = nullptr,
                                          int64_t copy = 0);

// The targets of some rows: [rows, labels].
core::Tensor targets_of(const data::Dataset& dataset, const std::vector<int64_t>& rows);

// A trained network as a run directory holds it.
struct TrainedRun {
  Config config;
  std::vector<std::string> labels;
  Preprocessing preprocessing;
  std::unique_ptr<models::Network> network;

  // Loads the checkpoint that train.select names, the last one where there is no best.
  static TrainedRun open(const RunDirectory& run, core::Device device);
};

// How a training run is to be made.
struct TrainingJob {
  Config config;
  core::Device device;
  std::string init;  // weights to start from; empty: none
  bool quiet = false;
  std::string title;                         // shown before the progress line, e.g. "fold 2"
  std::function<void()> on_checkpoint = {};  // called when the run has a checkpoint, by any thread
  bool init_partial = false;                 // takes `init` whatever share of the network it gives
  std::vector<std::string> kernels = {};     // OPERATION=VARIANT of --kernel, to be remembered
  bool resume = false;                       // goes on with the training that `run` holds
  std::string resume_command = {};           // that does so, for messages
  std::function<bool()> should_stop = {};    // set by train_run
  core::Communicator* ranks = nullptr;       // null: this is the only one
};

// What a run of these data sees of them, for its data.json.
nlohmann::ordered_json describe_data(const data::Dataset& dataset, const data::Splits& splits);

// Trains on splits.train, validates on splits.val (may be empty), and writes everything into `run`. Returns
// what train() does. Throws Interrupted (interruption.h) where a signal ended the training; what was done is
// saved. With job.resume it goes on from the newest checkpoint that is whole, or from the beginning where
// there is none, and throws core::InputError where the data are no longer those of the run.
optim::TrainResult train_run(const TrainingJob& job, const data::Dataset& dataset, const data::Splits& splits,
                             const RunDirectory& run);

// Probabilities of logits [n, labels]. Calibrated where `calibration` has a calibrator for the label: each by
// its own, or with softmax all by the slope that they share.
core::Tensor calibrated_probabilities(const core::Tensor& logits, optim::Output output,
                                      const std::vector<Calibrator>& calibration);

// The output that a run has: model.output, or where that is `auto` softmax for labels of which exactly one is
// true. Throws core::InputError where the data, the loss or the calibration do not suit softmax.
optim::Output output_of(const Config& config, const data::Dataset& dataset);

// The logits become the means over the images as they are and augment.test_copies copies, and probabilities
// follow, uncalibrated.
void average_over_copies(const TrainedRun& run, const data::Dataset& dataset, optim::Predictions& predictions,
                         core::Communicator* ranks = nullptr);

// Where rows of the dataset have gaps (data::TableEncoder), their logits become the means over the draws, and
// their probabilities follow, uncalibrated.
void average_over_gaps(const TrainedRun& run, const data::Dataset& dataset, optim::Predictions& predictions,
                       core::Communicator* ranks = nullptr);

// Probabilities and log odds of the logits, calibrated where the run has a calibration.
void apply_calibration(const TrainedRun& run, optim::Predictions& predictions);

// Predictions of a run: as optim::predict, average_over_copies and average_over_gaps, with the probabilities
// calibrated where the run has a calibration. The others are optim::to_probabilities of the logits.
optim::Predictions predict_run(const TrainedRun& run, const data::Dataset& dataset, data::Loader& loader,
                               const std::function<void(int64_t)>& on_batch = {},
                               core::Communicator* ranks = nullptr);

// Why a run that was not trained to its end has no calibration, thresholds and risk levels.
inline constexpr const char* kInterrupted = "training was interrupted";

// Fits what Preprocessing holds of the validation part to its predictions, whose probabilities are calibrated
// on the way. Without predictions everything is undefined, and `without` is the reason. With softmax there
// are no thresholds and no risk levels: the most probable label is predicted.
void fit_to_validation(const Config& config, optim::Predictions* validation, size_t labels,
                       Preprocessing& preprocessing, const char* without = "no validation part");

// Column `label` of a [rows, labels] tensor.
std::vector<double> column(const core::Tensor& matrix, int64_t label);

// Metrics of predictions (of predict_run) at the run's thresholds.
optim::Metrics metrics_of(const optim::Predictions& predictions, const TrainedRun& run);

// Predictions (of predict_run) as CSV: id, patient (where targets are known), probability_LABEL for each
// label, logit_LABEL (its log odds before it was rounded), target_LABEL (where known; an empty cell is an
// unknown one), raw_LABEL (before calibration, where calibration.method is one), predicted_LABEL (1 or 0 by
// the threshold, or with softmax 1 for the most probable label), risk_LABEL (low, intermediate, high; where
// risk.method is one, but not with softmax). Cells of a label without a threshold or cut-offs are empty.
std::string predictions_csv(const optim::Predictions& predictions, const data::Dataset& dataset,
                            const TrainedRun& run);

}  // namespace medfusion::tools
