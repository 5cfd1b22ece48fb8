#include "optim/shard_sum.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "core/runtime.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/registry.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr int64_t kAligned = 16;  // elements: 64 bytes of f32

int64_t aligned(int64_t count) { return (count + kAligned - 1) / kAligned * kAligned; }

// What gives a gradient's buffer its identity: the buffers of a ShardSum stay where they are.
const void* address_of(const Tensor& gradient) { return gradient.defined() ? gradient.view().data : nullptr; }

bool is_power_of_two(int64_t value) { return value > 0 && std::has_single_bit(static_cast<uint64_t>(value)); }

}  // namespace

ShardSum::ShardSum(const Parameters& parameters, std::vector<Tensor> statistics, const core::ShardPlan& plan,
                   core::Communicator* ranks, int64_t bucket_bytes)
    : parameters_(parameters), plan_(plan), statistics_(std::move(statistics)) {
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
  lay_out(bucket_bytes);
  use(0);
  // A rank alone that queues on the device exchanges with itself, so that one device can test it.
  if (plan.ranks > 1 || (ranks != nullptr && ranks->queues_on(device_.type))) {
    chunks_ = make_buckets();
    exchange_.emplace(*ranks, device_);
  }
}

// The last parameters come first, as their gradients do. A bucket can be cut into as many aligned chunks as
// there are ranks.
void ShardSum::lay_out(int64_t bucket_bytes) {
  const int64_t least = bucket_bytes * std::max<int64_t>(8, plan_.ranks) / 8 /
                        core::size_of(parameters_.front().second.dtype());
  int64_t filled = 0;
  const auto take = [&](int64_t elements) {
    return Place{sizes_.size(), std::exchange(filled, filled + aligned(elements))};
  };
  const auto close = [&] {
    if (filled > 0) sizes_.push_back(plan_.ranks * aligned((filled + plan_.ranks - 1) / plan_.ranks));
    filled = 0;
  };
  gradient_places_.resize(parameters_.size());
  for (size_t i = parameters_.size(); i-- > 0;) {
    gradient_places_[i] = take(parameters_[i].second.value().numel());
    if (filled >= least) close();
  }
  close();
  for (const Tensor& tensor : statistics_) statistic_places_.push_back(take(tensor.numel()));
  loss_place_ = take(1);
  close();
}

ShardSum::Buckets ShardSum::make_buckets() const {
  Buckets buckets;
  for (const int64_t size : sizes_)
    buckets.push_back(Tensor::zeros({size}, parameters_.front().second.dtype(), device_));
  return buckets;
}

ShardSum::Buffer ShardSum::make_buffer() const {
  Buffer buffer;
  buffer.buckets = make_buckets();
  const auto view = [&](const Place& place, const core::Shape& shape) {
    return buffer.buckets[place.bucket].slice(0, place.first, place.first + shape.numel()).reshape(shape);
  };
  for (size_t i = 0; i < parameters_.size(); ++i)
    buffer.gradients.push_back(view(gradient_places_[i], parameters_[i].second.shape()));
  for (size_t i = 0; i < statistics_.size(); ++i)
    buffer.statistics.push_back(view(statistic_places_[i], statistics_[i].shape()));
  buffer.loss = view(loss_place_, {1});
  return buffer;
}

void ShardSum::use(int64_t index) {
  while (static_cast<int64_t>(buffers_.size()) <= index) buffers_.push_back(make_buffer());
  buffer_ = &buffers_[static_cast<size_t>(index)];
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].second.set_gradient_buffer(buffer_->gradients[i]);
}

void ShardSum::clear() const {
  for (const Tensor& bucket : buffer_->buckets) bucket.fill(0.0);
}

// Counts how many operations read each parameter. When the backward of as many has run, its gradient is
// there.
class ShardSum::Watch : public core::OperationObserver {
 public:
  explicit Watch(ShardSum& sum) : sum_(sum), reads_(sum.parameters_.size()), missing_(sum.sizes_.size()) {
    for (size_t i = 0; i < reads_.size(); ++i) {
      index_of_[address_of(sum.parameters_[i].second.gradient())] = i;
      ++missing_[bucket_of(i)];
    }
  }

  void forward(const char* /*operation*/, uint64_t /*number*/, const Tensor& /*value*/,
               const std::vector<core::Variable>& inputs) override {
    for (const core::Variable& input : inputs) count(input.gradient(), 1);
  }

  void backward(const char* /*operation*/, uint64_t /*number*/,
                std::span<const std::shared_ptr<core::GradientState>> inputs) override {
    if (!std::exchange(goes_back_, true)) {  // what no operation read has no gradient to wait for
      for (size_t i = 0; i < reads_.size(); ++i) missing_[bucket_of(i)] -= reads_[i] == 0 ? 1 : 0;
    }
    for (const auto& input : inputs) {
      if (input) count(input->gradient, -1);
    }
    while (sum_.sent_ + 1 < missing_.size() && missing_[sum_.sent_] == 0) {
      sum_.send(sum_.sent_);
      if (sum_.sent_ + 1 < missing_.size()) ++sum_.sent_early_;
    }
  }

 private:
  void count(const Tensor& gradient, int64_t change) {
    const auto found = index_of_.find(address_of(gradient));
    if (found == index_of_.end()) return;
    int64_t& reads = reads_[found->second];
    reads += change;
    if (change < 0 && reads == 0) --missing_[bucket_of(found->second)];
  }
  size_t bucket_of(size_t parameter) const { return sum_.gradient_places_[parameter].bucket; }

  ShardSum& sum_;
  std::unordered_map<const void*, size_t> index_of_;  // of a parameter, by the address of its gradient
  std::vector<int64_t> reads_;                        // whose backward has not run, of each parameter
  std::vector<int64_t> missing_;                      // gradients, in each bucket
  bool goes_back_ = false;
};

std::unique_ptr<core::OperationObserver> ShardSum::watch() {
  if (!exchange_ || !at_last()) return nullptr;
  return std::make_unique<Watch>(*this);
}

void ShardSum::add_to(const Tensor& to, const Tensor& from) const {
  kernels::dispatch<kernels::BinaryForward>({kernels::Binary::add, to.view(), from.view(), to.view()},
                                            device_.type);
}

// As a binary counter counts: a sum moves up while the one beside it is there.
void ShardSum::add_branches(size_t bucket) const {
  for (int64_t bits = added_, level = 0; bits % 2 == 1; bits /= 2, ++level)
    add_to(buffer_->buckets[bucket], branches_[static_cast<size_t>(level)][bucket]);
}

void ShardSum::send(size_t bucket) {
  add_branches(bucket);
  if (exchange_) {
    exchange_->start(buffer_->buckets[bucket],
                     chunks_[bucket].reshape({plan_.ranks, sizes_[bucket] / plan_.ranks}));
  }
  sent_ = bucket + 1;
}

void ShardSum::add(const Tensor& loss) {
  for (size_t i = 0; i < statistics_.size(); ++i) buffer_->statistics[i].copy_from(statistics_[i]);
  buffer_->loss.copy_from(loss);
  if (at_last()) {
    while (sent_ < sizes_.size()) send(sent_);
  } else {
    const auto level = static_cast<size_t>(std::countr_one(static_cast<uint64_t>(added_)));
    if (branches_.size() <= level) branches_.push_back(make_buckets());
    for (size_t bucket = 0; bucket < sizes_.size(); ++bucket) {
      add_branches(bucket);
      branches_[level][bucket].copy_from(buffer_->buckets[bucket]);
    }
  }
  ++added_;
}

Tensor ShardSum::finish() {
  MEDFUSION_CHECK(added_ == plan_.own(), "shards: {} of {} were added", added_, plan_.own());
  added_ = 0;
  sent_ = 0;
  if (exchange_) exchange_->finish();
  const double share = 1.0 / static_cast<double>(plan_.shards);  // exact, and so is what it multiplies
  for (size_t i = 0; i < statistics_.size(); ++i) {
    kernels::dispatch<kernels::AffineForward>(
        {share, 0.0, buffer_->statistics[i].view(), statistics_[i].view()}, device_.type);
  }
  return buffer_->loss;
}

}  // namespace medfusion::optim
