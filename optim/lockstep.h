// Computes the shards of a batch side by side, so that they can meet: batch norms then know the whole batch.
#pragma once

#include <functional>
#include <vector>

#include "core/communicator.h"
#include "core/shards.h"
#include "layers/shard_exchange.h"

namespace medfusion::optim {

// What the shards of this rank do, and on which rows.
struct LockstepWork {
  std::vector<int64_t> rows;  // of each shard of this rank; none may be empty
  int64_t rows_of_batch = 0;
  // Computes shard number `index` of this rank. All shards call the exchange equally often.
  std::function<void(int64_t index, layers::ShardExchange& shards)> compute;
  // Called when shard `index` goes on, after another had its turn.
  std::function<void(int64_t index)> on_turn;
};

// Every shard has a thread, but only one of them works at a time: it goes on to its next sum, then the next
// shard does. Sums are added along the tree of ShardSum, so their bits do not depend on the number of ranks.
// `ranks` may be null. Rethrows what the first shard that failed threw.
void run_in_lockstep(const core::ShardPlan& plan, core::Communicator* ranks, core::Device device,
                     const LockstepWork& work);

}  // namespace medfusion::optim
