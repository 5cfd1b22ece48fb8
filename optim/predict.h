// A network over a loader without gradients.
#pragma once

#include <functional>
#include <vector>

#include "core/communicator.h"
#include "data/loader.h"
#include "models/network.h"

namespace medfusion::optim {

using models::Output;

struct Predictions {
  std::vector<int64_t> rows;   // of the dataset, in loader order
  core::Tensor logits;         // [n, labels] f32
  core::Tensor probabilities;  // [n, labels] f32
  core::Tensor log_odds;  // [n, labels] f64, of the probabilities before they were rounded: ranks samples
  core::Tensor targets;   // [n, labels] f32, NaN where unknown; undefined where the loader has none
};

// [n, labels] f32 -> probabilities, computed in double; `automatic` is sigmoid.
core::Tensor to_probabilities(const core::Tensor& logits, Output output);
// [n, labels] f32 -> [n, labels] f64: log(p / (1 - p)) of these probabilities, from the logits, so that it
// tells apart what rounds to a probability of 0 or 1.
core::Tensor to_log_odds(const core::Tensor& logits, Output output);

// Runs one pass over the loader in evaluation mode. on_batch, where given, is told the rows done so far.
// Where the loader gives each rank some of the batches (LoaderOptions::whole_batches), every rank calls this
// with `ranks`, and gets what one alone would get.
Predictions predict(models::Network& network, data::Loader& loader, Output output,
                    const std::function<void(int64_t)>& on_batch = {}, core::Communicator* ranks = nullptr);

}  // namespace medfusion::optim
