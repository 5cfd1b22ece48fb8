// One step of training: forward, loss, backward, clipping, optimizer, weight average. On a device the step is
// captured once as a graph and replayed for every later batch of the same shapes.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/batch.h"
#include "models/network.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/optimizer_share.h"
#include "optim/shard_sum.h"
#include "optim/staging.h"
#include "optim/train_options.h"

namespace medfusion::optim {

struct StepResult {
  double loss = 0.0;
  double gradient_norm = 0.0;  // before clipping
  bool finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }
};

// stage(), start(), stage() of the next batch, finish(), start(), ...: while the device computes, the host
// prepares the next batch and its copy is under way. A step gives the same bits captured or not: its random
// layers use the streams from step * 2^20 on, and what changes from step to step is read on the device.
//
// A batch may be computed in shards, here or on several ranks (StepOptions::shards): each shard on its own,
// with batch statistics and dropout of its own; then gradients are added up in a fixed order, the loss is the
// mean over the whole batch, and running statistics are the mean of what the shards made of them. Or shards
// meet in every batch norm, which then has the statistics of the whole batch (batch_statistics).
// With several ranks a step is captured where they exchange tensors on the device
// (core::Communicator::queues_on).
//
// A step whose loss or gradient is NaN or infinite changes nothing: neither weights, nor the optimizer's
// state and its count of steps, nor the average and its count; with StepOptions::keep_statistics no running
// statistics either. The next step gives the bits that it gives where the failed one never was.
class TrainingStep {
 public:
  // `average` may be null, and so may `ranks`: this is then the only one. The optimizer holds the network's
  // parameters but for the frozen ones; of those only its share, where `share` is not null. All outlive the
  // object.
  TrainingStep(models::Network& network, Optimizer& optimizer, WeightAverage* average,
               const StepOptions& options, core::Communicator* ranks = nullptr,
               const OptimizerShare* share = nullptr);
  ~TrainingStep();
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  // Prepares the batch of a step (counted from 0); of several ranks each gives its own rows. It may change as
  // soon as this returns.
  void stage(const core::Batch& batch, int64_t step);
  // Queues the step of the staged batch and waits for nothing, but that the first brings the network's
  // constants to the device. Throws core::OutOfMemory with an estimate of the batch that would fit where the
  // memory of the device does not suffice; weights and statistics are then undefined. Throws core::Error
  // where finish() of the step before was not called. After a throw only the destructor may follow.
  void start(double learning_rate);
  // Waits for the step that was started, on the stream that was current then.
  StepResult finish();
  // After finish() gave a step that is not finite, and before the next start(): runs that step once more,
  // with the same random numbers, and says in a line where the first NaN or infinity came from
  // (optim/trace.h). Changes nothing with keep_statistics. row_name gives the name of a row of the dataset.
  std::string trace(const std::function<std::string(int64_t)>& row_name);

  int64_t replays() const { return replays_; }  // how many steps were replayed so far
  // As ShardSum counts them.
  int64_t sent_early() const { return sum_ ? sum_->sent_early() : 0; }

 private:
  // A shard as the step takes it; without rows where the batch has fewer of them than shards.
  struct Shard {
    models::Prepared batch;
    core::Tensor share;   // [1]: what part of the batch's loss is this shard's; undefined: it is the batch
    uint64_t stream = 0;  // of the first random layer, on top of base_
    bool is_empty() const { return !batch.targets.defined(); }
  };
  struct Operands {
    std::vector<Shard> shards;  // of this rank
    int64_t whole = 0;          // rows of the batch, on all ranks
    std::vector<core::Tensor*> tensors();
    int64_t rows() const;
  };

  Operands from_stage();
  void queue(const Operands& operands);
  core::Variable queue(const Shard& shard, layers::ShardExchange* shards);
  void queue_alone(const Shard& shard);
  core::Tensor queue_in_lockstep(const Operands& operands);
  core::Tensor queue_shards(const Operands& operands);
  void run(double learning_rate);
  void send_scalars(double learning_rate);
  void capture();
  void restore_statistics();
  std::pair<std::string, bool> trace(const Shard& shard, const std::function<std::string(int64_t)>& row_name);
  std::string batch_hint();
  int64_t bytes_of(int64_t samples);

  models::Network& network_;
  Optimizer& optimizer_;
  WeightAverage* const average_;
  StepOptions options_;
  const core::Tensor positive_weight_;  // of the loss, on the host
  const core::Device device_;
  const Parameters parameters_;
  const bool meets_;  // shards are computed side by side
  const bool captures_;

  std::optional<ShardSum> sum_;  // where there are shards or ranks
  core::Communicator* const ranks_;
  const OptimizerShare* const share_;

  std::optional<Staging> staging_;  // not on the cpu
  Operands running_;                // of the step that was started
  Operands staged_;                 // on the cpu the batch itself, elsewhere what is not tensors
  int64_t step_ = 0;                // of the staged batch

  // What changes from step to step. A graph reads these, so their addresses stay.
  core::Tensor scalars_;            // u8: the memory of the three
  core::Tensor base_;               // i64 [1]: step * 2^20
  core::Tensor optimizer_scalars_;  // f64
  core::Tensor rate_;               // f64 [1], of the average
  core::Tensor results_;            // f64 [2]: loss, gradient norm
  core::Tensor grad_scale_;         // f64 [1]; NaN where the step is not finite
  std::vector<std::pair<core::Tensor, core::Tensor>> statistics_;  // where they are kept: value, copy
  // Pinned memory of the host: what goes to scalars_, and what comes from results_. It is free from finish()
  // to the next start().
  char* host_ = nullptr;
  bool unfinished_ = false;  // a step may still use it
  core::Stream stream_;      // of that step

  // Of the captured step, in the order in which they are made: the graph goes first, then its memory.
  Operands fixed_;     // where the graph reads the batch; without shards until the first step
  bool fits_ = false;  // running_ lies there
  std::unique_ptr<core::MemoryPool> pool_;
  std::optional<core::Graph> graph_;
  int64_t replays_ = 0;
  int64_t bytes_sent_ = 0;  // to other ranks, by a replay
};

}  // namespace medfusion::optim
