// What the shards of a batch give, added up: gradients, running statistics and the loss.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/autograd.h"
#include "core/communicator.h"
#include "core/shards.h"
#include "core/tensor.h"
#include "optim/bucket_exchange.h"
#include "optim/optimizer.h"

namespace medfusion::optim {

// Adds along a binary tree over the shards: of two neighbors first, then of two pairs, and so on. A rank
// holds a whole branch of the tree and the ranks exchange what is above it, so the sum has the same bits for
// any number of ranks.
//
// The ranks exchange it in buckets: gradients of some parameters side by side, those of the last parameters
// first, and in the end statistics and loss. A bucket goes when the backward pass of the rank's last shard
// has come to the end of it.
class ShardSum {
 public:
  // Moves the gradients of the parameters into one buffer. `statistics` are tensors of the network, all of
  // the parameters' dtype. `ranks` may be null: one rank. All but the last two buckets have at least
  // `bucket_bytes`; with more than 8 ranks, `bucket_bytes` / 8 for each rank. Throws core::Error where a plan
  // has other numbers than powers of two, or another rank than `ranks`.
  ShardSum(const Parameters& parameters, std::vector<core::Tensor> statistics, const core::ShardPlan& plan,
           core::Communicator* ranks, int64_t bucket_bytes);

  const core::ShardPlan& plan() const { return plan_; }

  // Where shards are computed side by side: makes the parameters' gradients, and what the functions below
  // see, those of shard `index` of this rank.
  void use(int64_t index);
  // Sets all to 0, gradients included, before a shard is computed.
  void clear() const;
  // For the forward and backward of one shard on this thread: while the result lives, buckets go as the
  // gradients come. Null where they go later, because other shards of this rank follow, or nothing is
  // exchanged.
  std::unique_ptr<core::OperationObserver> watch();
  // Takes up a shard whose gradients lie in the parameters' buffers, with its share of the loss, [1], and the
  // network's statistics as it left them. Call for each shard of the rank, in order.
  void add(const core::Tensor& loss);
  // Adds up over the ranks; where they queue on the device, this waits for nothing. From then on the
  // gradients are those of the whole batch, and the network's statistics the mean of what the shards made of
  // them. Returns the loss, [1].
  core::Tensor finish();

  // How many buckets were sent before the end of their backward pass; replays of a graph do not count.
  int64_t sent_early() const { return sent_early_; }

 private:
  class Watch;

  using Buckets = std::vector<core::Tensor>;  // [elements] each, in the order in which they go
  // Where a gradient, a statistic or the loss lies.
  struct Place {
    size_t bucket = 0;
    int64_t first = 0;
  };
  // Gradients, statistics and loss, each at an aligned place of its bucket, with zeros between.
  struct Buffer {
    Buckets buckets;
    core::Tensor loss;
    std::vector<core::Tensor> gradients, statistics;
  };

  void lay_out(int64_t bucket_bytes);
  Buckets make_buckets() const;
  Buffer make_buffer() const;
  bool at_last() const { return added_ + 1 == plan_.own(); }
  void send(size_t bucket);
  void add_branches(size_t bucket) const;
  void add_to(const core::Tensor& to, const core::Tensor& from) const;

  const Parameters parameters_;
  core::ShardPlan plan_;
  core::Device device_;
  std::vector<core::Tensor> statistics_;  // of the network

  std::vector<int64_t> sizes_;                             // of the buckets, in elements
  std::vector<Place> gradient_places_, statistic_places_;  // in them
  Place loss_place_;

  std::vector<Buffer> buffers_;     // one, or one for each shard of this rank
  const Buffer* buffer_ = nullptr;  // the one in use
  std::vector<Buckets> branches_;   // sums of 1, 2, 4, ... shards that wait for their neighbor
  int64_t added_ = 0;               // shards of this batch

  // Of the ranks: what each has for the part that this one adds up. Not there where nothing is exchanged.
  Buckets chunks_;
  std::optional<BucketExchange> exchange_;
  size_t sent_ = 0;  // buckets of this batch
  int64_t sent_early_ = 0;
};

}  // namespace medfusion::optim
