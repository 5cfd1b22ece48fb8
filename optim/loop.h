// The training loop.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "core/communicator.h"
#include "data/loader.h"
#include "models/network.h"
#include "optim/checkpoint.h"
#include "optim/metrics.h"
#include "optim/predict.h"
#include "optim/train_options.h"
#include "optim/train_state.h"

namespace medfusion::optim {

using layers::PositiveWeight;

struct BatchProgress {
  int64_t epoch, epochs;   // from 1
  int64_t batch, batches;  // from 1, of this epoch
  int64_t samples;         // of this batch
  double loss;             // of this batch; NaN or infinite where the step may have been skipped
};

// What the caller does while training runs; any may be empty.
struct TrainCallbacks {
  std::function<void(const BatchProgress&)> on_batch;
  // A line about a step that was skipped, and one about where its NaN or infinity came from.
  std::function<void(const std::string&)> on_note;
  // The name of a row of the dataset, for that line.
  std::function<std::string(int64_t)> row_name;
  // One line of metrics.jsonl per epoch: epoch, train_loss, learning_rate, gradient_norm, seconds,
  // images_per_second, where steps were skipped their number as skipped_steps, and, where the epoch was
  // evaluated, val_loss and val.macro.auroc ...
  std::function<void(const nlohmann::ordered_json&)> on_epoch;
  // The weights to keep so far: called with is_best when the validation macro AUROC has risen, and with
  // !is_best after every epoch.
  std::function<void(const NamedTensors&, bool is_best, int64_t epoch)> on_checkpoint;
  // What an interrupted training goes on from: after each epoch, after what belongs to it above; as often as
  // train.checkpoint_every says; and where it stops because it was asked to. The tensors share the memory of
  // the network and its optimizer, which change when this returns.
  std::function<void(const TrainState&)> on_state;
  // Asked after every step, and between the batches of an evaluation: true ends the training there.
  std::function<bool()> should_stop;
};

struct TrainResult {
  int64_t epochs_run = 0;
  int64_t best_epoch = 0;        // 0 where nothing was evaluated
  MetricValue best_auroc;        // macro, on the validation part
  double last_train_loss = 0.0;  // mean over the last epoch
  bool stopped_early = false;
  bool interrupted = false;  // by should_stop; the rest is of the epochs before
};

// Loss weights per label for bce: [labels] f32, from the targets [n, labels] of the training rows; at most
// 100. Labels without positives or negatives get 1. exclusive: of labels of which exactly one is true.
core::Tensor positive_weights(const core::Tensor& targets, PositiveWeight kind, bool exclusive = false);

// Logits of the prevalence per label, with one positive and one negative added to each count; or, of labels
// of which exactly one is true, its logarithm, with one row added to each label.
core::Tensor prior_logits(const core::Tensor& targets, bool exclusive = false);

// Trains `network` from the weights it has, but for what is frozen (optim/freeze.h). `validation` may be
// null: then there is no best checkpoint, and the last weights (or their average) count. `from`, where not
// null, is a state that on_state was given, of the same network, data and options: training goes on from
// there to the same bytes. Where it has fewer epochs than the options, these are added, and the schedule is
// that of the new number. A step whose loss or gradient is not finite changes nothing; by
// TrainOptions::nonfinite it is skipped, while the schedule and the random numbers go on with their batches,
// or throws core::Error naming epoch and batch, as do weights that are not finite where a checkpoint is due.
// Throws core::InputError naming from->file where the state does not fit. Afterwards the network holds the
// last weights (the average where there is one).
TrainResult train(models::Network& network, data::Loader& training, const core::Tensor& training_targets,
                  data::Loader* validation, const std::vector<std::string>& labels,
                  const TrainOptions& options, const TrainCallbacks& callbacks = {},
                  const TrainState* from = nullptr, core::Communicator* ranks = nullptr);

}  // namespace medfusion::optim
