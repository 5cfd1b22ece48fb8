// MixUp (Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018).
#pragma once

#include <cstdint>

#include "core/batch.h"
#include "core/shards.h"

namespace medfusion::optim {

// Each shard of the batch gets a share s ~ Beta(alpha, alpha), alpha in (0, 1], and an order of its rows; the
// images and targets of row i become s times its own and 1 - s times those of the row that the order puts in
// its place. A target is unknown where one of the two is, and an image is present where one of the two is.
// The batch has this rank's rows of the plan, and nothing else for the network to read. Depends on (seed,
// step, shard) alone; all ranks mix whole_targets alike.
void mix_up(core::Batch& batch, double alpha, const core::ShardPlan& plan, uint64_t seed, int64_t step);

}  // namespace medfusion::optim
