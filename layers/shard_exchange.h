// What the shards of a batch tell each other while they are computed side by side (optim/lockstep.h).
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace medfusion::layers {

class ShardExchange {
 public:
  virtual ~ShardExchange() = default;
  ShardExchange(const ShardExchange&) = delete;
  ShardExchange& operator=(const ShardExchange&) = delete;

  // The sum over the shards of `part`, which has the same shape and dtype (f32 or f64) in each: the same bits
  // for all of them. Each shard calls it in the same order.
  virtual core::Tensor sum(const core::Tensor& part) = 0;
  // How many rows the whole batch has where this shard has `rows`: pixels of images, say.
  virtual int64_t rows_of_batch(int64_t rows) const = 0;
  // Whether this shard updates what the shards of this process share, such as running statistics.
  virtual bool updates_shared() const = 0;

 protected:
  ShardExchange() = default;
};

}  // namespace medfusion::layers
