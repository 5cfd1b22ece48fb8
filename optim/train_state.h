// Where a training stands between two steps: all that it needs to go on to the same bytes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "optim/checkpoint.h"
#include "optim/metrics.h"

namespace medfusion::optim {

struct TrainState {
  int64_t epochs = 0;  // that the training is to have, train.epochs
  int64_t steps = 0;   // done in all, those included that were skipped

  // Of the epochs that are done.
  int64_t epochs_done = 0;
  double last_train_loss = 0.0;  // mean over the last of them
  int64_t best_epoch = 0;        // 0 where nothing was evaluated
  MetricValue best_auroc;        // macro, on the validation part
  int64_t without_gain = 0;      // evaluations since then

  // Of the epoch under way, which has the number epochs_done + 1.
  int64_t batches = 0;  // done, those included that were skipped (train.nonfinite)
  int64_t skipped = 0;
  int64_t skipped_in_a_row = 0;  // up to now, over the epochs
  int64_t samples = 0;           // of what was not skipped
  double loss_sum = 0.0;         // weighted by samples
  double norm_sum = 0.0;         // of the gradients, over batches
  double seconds = 0.0;

  // The weights by their names (not their average), "optimizer." and what Optimizer::state_tensors() gives,
  // "ema." and what WeightAverage::tensors() gives where there is one.
  NamedTensors tensors;
  std::string file;  // where it was read from, for errors
};

// All but the tensors and the file, every number exactly.
nlohmann::ordered_json to_json(const TrainState& state);
// Throws core::InputError naming `file` where it is not as to_json() writes it.
TrainState train_state_from_json(const nlohmann::ordered_json& json, const std::string& file);

// The tensors of a state whose names begin with `prefix`, without it.
NamedTensors with_prefix(const NamedTensors& tensors, const std::string& prefix);

}  // namespace medfusion::optim
