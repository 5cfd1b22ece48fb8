// What the shards of a batch give, added up: gradients, running statistics and the loss.
#pragma once

#include <vector>

#include "core/communicator.h"
#include "core/shards.h"
#include "core/tensor.h"
#include "optim/optimizer.h"

namespace medfusion::optim {

// Adds along a binary tree over the shards: of two neighbors first, then of two pairs, and so on. A rank
// holds a whole branch of the tree and the ranks exchange what is above it, so the sum has the same bits for
// any number of ranks.
class ShardSum {
 public:
  // Moves the gradients of the parameters into one buffer. `statistics` are tensors of the network, all of
  // the parameters' dtype. `ranks` may be null: one rank. Throws core::Error where a plan has other numbers
  // than powers of two, or another rank than `ranks`.
  ShardSum(const Parameters& parameters, std::vector<core::Tensor> statistics, const core::ShardPlan& plan,
           core::Communicator* ranks);

  const core::ShardPlan& plan() const { return plan_; }

  // Where shards are computed side by side: makes the parameters' gradients, and what the functions below
  // see, those of shard `index` of this rank.
  void use(int64_t index);
  // Sets all to 0, gradients included, before a shard is computed.
  void clear() const;
  // Takes up a shard whose gradients lie in the parameters' buffers, with its share of the loss, [1], and the
  // network's statistics as it left them. Call for each shard of the rank, in order.
  void add(const core::Tensor& loss);
  // Adds up over the ranks; where they queue on the device, this waits for nothing. From then on the
  // gradients are those of the whole batch, and the network's statistics the mean of what the shards made of
  // them. Returns the loss, [1].
  core::Tensor finish();

 private:
  void exchange();
  void add_to(const core::Tensor& to, const core::Tensor& from) const;

  // Gradients, statistics and loss, each at an aligned place of `sum`; then zeros.
  struct Buffer {
    core::Tensor sum, loss;
    std::vector<core::Tensor> gradients, statistics;
  };
  Buffer make_buffer() const;

  const Parameters parameters_;
  core::ShardPlan plan_;
  core::Communicator* ranks_;
  core::Device device_;
  std::vector<core::Tensor> statistics_;  // of the network
  std::vector<Buffer> buffers_;           // one, or one for each shard of this rank
  std::vector<core::Tensor> places_;      // of the buffer in use: of the statistics,
  core::Tensor sum_, loss_;               // of all, and of the loss
  std::vector<core::Tensor> branches_;    // sums of 1, 2, 4, ... shards that wait for their neighbor
  // Of the ranks: what each has for the part that this one adds up. Undefined where nothing is exchanged.
  core::Tensor chunks_;
  int64_t added_ = 0;
};

}  // namespace medfusion::optim
