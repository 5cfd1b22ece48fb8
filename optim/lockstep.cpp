#include "optim/lockstep.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "core/runtime.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

template <class T>
void add_numbers(const Tensor& to, const Tensor& from) {
  for (int64_t i = 0; i < to.numel(); ++i) to.data<T>()[i] += from.data<T>()[i];
}

// Along a binary tree, in place: the sum of all is in the first. On the host.
void add_up(const std::vector<Tensor>& parts) {
  for (size_t step = 1; step < parts.size(); step *= 2) {
    for (size_t i = 0; i + step < parts.size(); i += 2 * step) {
      if (parts[i].dtype() == core::DType::f64) {
        add_numbers<double>(parts[i], parts[i + step]);
      } else {
        add_numbers<float>(parts[i], parts[i + step]);
      }
    }
  }
}

// Whose turn it is, and what the shards have given for the sum that is due.
class Round {
 public:
  Round(const core::ShardPlan& plan, core::Communicator* ranks, const LockstepWork& work)
      : ranks_(ranks), work_(work), parts_(static_cast<size_t>(plan.own())) {}

  // Waits for the turn of a shard. False where another has failed.
  bool wait(int64_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return turn_ == index || error_; });
    if (error_) return false;
    if (work_.on_turn) work_.on_turn(index);
    return true;
  }
  void pass_on(int64_t index) {
    const std::lock_guard lock(mutex_);
    turn_ = (index + 1) % static_cast<int64_t>(parts_.size());
    changed_.notify_all();
  }
  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }
  std::exception_ptr error() const { return error_; }

  Tensor sum(int64_t index, const Tensor& part) {
    MEDFUSION_CHECK(part.dtype() == core::DType::f32 || part.dtype() == core::DType::f64,
                    "shards: expected a sum of f32 or f64, got {}", core::name_of(part.dtype()));
    parts_[static_cast<size_t>(index)] = part.to(core::Device{}).clone();
    if (index + 1 == static_cast<int64_t>(parts_.size())) total_ = total().to(part.device());
    pass_on(index);
    if (!wait(index)) throw Ended();
    return total_;
  }

  // Thrown out of a shard that goes no further because another has failed.
  struct Ended {};

 private:
  Tensor total() {
    add_up(parts_);
    const Tensor& own = parts_.front();
    if (ranks_ == nullptr || ranks_->size() == 1) return own;
    const Tensor all = Tensor::empty({ranks_->size(), own.numel()}, own.dtype());
    ranks_->all_gather(own.view().data, all.view().data, own.bytes());
    std::vector<Tensor> branches;
    for (int64_t rank = 0; rank < ranks_->size(); ++rank) branches.push_back(all.slice(0, rank, rank + 1));
    add_up(branches);
    return branches.front().clone().reshape(own.shape());
  }

  core::Communicator* const ranks_;
  const LockstepWork& work_;
  std::vector<Tensor> parts_;  // by shard; the one that has its turn writes
  Tensor total_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t turn_ = 0;
  std::exception_ptr error_;
};

class Member : public layers::ShardExchange {
 public:
  Member(Round& round, const LockstepWork& work, int64_t index) : round_(round), work_(work), index_(index) {}
  Tensor sum(const Tensor& part) override { return round_.sum(index_, part); }
  int64_t rows_of_batch(int64_t rows) const override {
    return rows / work_.rows[static_cast<size_t>(index_)] * work_.rows_of_batch;
  }
  bool updates_shared() const override { return index_ == 0; }

 private:
  Round& round_;
  const LockstepWork& work_;
  const int64_t index_;
};

}  // namespace

void run_in_lockstep(const core::ShardPlan& plan, core::Communicator* ranks, core::Device device,
                     const LockstepWork& work) {
  MEDFUSION_CHECK(static_cast<int64_t>(work.rows.size()) == plan.own(), "shards: {} of {} have rows",
                  work.rows.size(), plan.own());
  for (const int64_t rows : work.rows) {
    MEDFUSION_CHECK(rows > 0, "shards: statistics over the batch want at least one row in every shard");
  }
  Round round(plan, ranks, work);
  const core::Stream stream = core::current_stream(device);
  const auto run = [&](int64_t index) {
    const core::StreamGuard on_stream(device, stream);
    try {
      if (!round.wait(index)) return;
      Member member(round, work, index);
      work.compute(index, member);
      round.pass_on(index);
    } catch (const Round::Ended&) {
    } catch (...) {
      round.fail(std::current_exception());
    }
  };
  std::vector<std::thread> threads;
  for (int64_t index = 0; index < plan.own(); ++index) threads.emplace_back(run, index);
  for (std::thread& thread : threads) thread.join();
  if (round.error()) std::rethrow_exception(round.error());
}

}  // namespace medfusion::optim
