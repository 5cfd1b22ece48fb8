#include "optim/shard_sum.h"

#include <bit>
#include <utility>

#include "core/runtime.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/registry.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr int64_t kAligned = 16;  // elements: 64 bytes of f32

int64_t aligned(int64_t count) { return (count + kAligned - 1) / kAligned * kAligned; }

bool is_power_of_two(int64_t value) { return value > 0 && std::has_single_bit(static_cast<uint64_t>(value)); }

}  // namespace

ShardSum::ShardSum(const Parameters& parameters, std::vector<Tensor> statistics, const core::ShardPlan& plan,
                   core::Communicator* ranks)
    : parameters_(parameters), plan_(plan), ranks_(ranks), statistics_(std::move(statistics)) {
  MEDFUSION_CHECK(
      is_power_of_two(plan.shards) && is_power_of_two(plan.ranks) && plan.ranks <= plan.shards &&
          plan.rank >= 0 && plan.rank < plan.ranks,
      "shards: expected powers of two and at least as many shards as ranks, got {} shards and rank "
      "{} of {}",
      plan.shards, plan.rank, plan.ranks);
  MEDFUSION_CHECK(
      ranks == nullptr ? plan.ranks == 1 : plan.ranks == ranks->size() && plan.rank == ranks->rank(),
      "shards: the plan is of rank {} of {}, the communicator of another", plan.rank, plan.ranks);
  MEDFUSION_CHECK(!parameters.empty(), "shards: there is nothing to train");
  const core::DType dtype = parameters.front().second.dtype();
  device_ = parameters.front().second.device();
  for (const Tensor& tensor : statistics_) {
    MEDFUSION_CHECK(tensor.dtype() == dtype, "shards: expected statistics in {}, got {}", name_of(dtype),
                    name_of(tensor.dtype()));
  }
  use(0);
  // A rank alone that queues on the device exchanges with itself, so that one device can test it.
  if (plan.ranks > 1 || (ranks != nullptr && ranks->queues_on(device_.type)))
    chunks_ = Tensor::empty({plan.ranks, sum_.numel() / plan.ranks}, dtype, device_);
}

ShardSum::Buffer ShardSum::make_buffer() const {
  int64_t count = kAligned;  // the loss
  for (const auto& [name, variable] : parameters_) count += aligned(variable.value().numel());
  for (const Tensor& tensor : statistics_) count += aligned(tensor.numel());
  const int64_t chunk = aligned((count + plan_.ranks - 1) / plan_.ranks);
  Buffer buffer;
  buffer.sum = Tensor::zeros({chunk * plan_.ranks}, parameters_.front().second.dtype(), device_);
  int64_t next = 0;
  const auto take = [&](const core::Shape& shape, int64_t elements) {
    const Tensor place = buffer.sum.slice(0, next, next + elements).reshape(shape);
    next += aligned(elements);
    return place;
  };
  for (const auto& [name, variable] : parameters_)
    buffer.gradients.push_back(take(variable.shape(), variable.value().numel()));
  for (const Tensor& tensor : statistics_) buffer.statistics.push_back(take(tensor.shape(), tensor.numel()));
  buffer.loss = take({1}, 1);
  return buffer;
}

void ShardSum::use(int64_t index) {
  while (static_cast<int64_t>(buffers_.size()) <= index) buffers_.push_back(make_buffer());
  const Buffer& buffer = buffers_[static_cast<size_t>(index)];
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].second.set_gradient_buffer(buffer.gradients[i]);
  sum_ = buffer.sum;
  loss_ = buffer.loss;
  places_ = buffer.statistics;
}

void ShardSum::clear() const { sum_.fill(0.0); }

void ShardSum::add_to(const Tensor& to, const Tensor& from) const {
  kernels::dispatch<kernels::BinaryForward>({kernels::Binary::add, to.view(), from.view(), to.view()},
                                            device_.type);
}

void ShardSum::add(const Tensor& loss) {
  for (size_t i = 0; i < statistics_.size(); ++i) places_[i].copy_from(statistics_[i]);
  loss_.copy_from(loss);
  // As a binary counter counts: a sum moves up while the one beside it is there.
  size_t level = 0;
  for (int64_t bits = added_++; bits % 2 == 1; bits /= 2) add_to(sum_, branches_[level++]);
  if (added_ == plan_.own()) return;
  if (branches_.size() <= level) branches_.push_back(Tensor::empty_like(sum_));
  branches_[level].copy_from(sum_);
}

// What stands in sum_ on every rank is one branch. Each rank adds up its chunk of all, in the order of the
// tree, and all get it from there.
void ShardSum::exchange() {
  const int64_t ranks = plan_.ranks;
  ranks_->all_to_all(sum_, chunks_);
  for (int64_t step = 1; step < ranks; step *= 2) {
    for (int64_t rank = 0; rank + step < ranks; rank += 2 * step)
      add_to(chunks_.slice(0, rank, rank + 1), chunks_.slice(0, rank + step, rank + step + 1));
  }
  ranks_->all_gather(chunks_.slice(0, 0, 1), sum_);
}

Tensor ShardSum::finish() {
  MEDFUSION_CHECK(added_ == plan_.own(), "shards: {} of {} were added", added_, plan_.own());
  added_ = 0;
  if (chunks_.defined()) exchange();
  const double share = 1.0 / static_cast<double>(plan_.shards);  // exact, and so is what it multiplies
  for (size_t i = 0; i < statistics_.size(); ++i) {
    kernels::dispatch<kernels::AffineForward>({share, 0.0, places_[i].view(), statistics_[i].view()},
                                              device_.type);
  }
  return loss_;
}

}  // namespace medfusion::optim
