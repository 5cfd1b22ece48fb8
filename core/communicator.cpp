#include "core/communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "core/runtime.h"
#include "core/tensor.h"

namespace medfusion::core {
namespace {

// A copy of nothing may have no addresses.
void copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<size_t>(bytes));
}

const char* at(const void* data, int64_t place) { return static_cast<const char*>(data) + place; }
char* at(void* data, int64_t place) { return static_cast<char*>(data) + place; }

class Single : public Communicator {
 public:
  Single() : Communicator(0, 1) {}
  const char* name() const override { return "single"; }

 protected:
  void do_all_to_all(const void* from, void* to, int64_t bytes) override { copy(to, from, bytes); }
  void do_all_gather(const void* from, void* to, int64_t bytes) override { copy(to, from, bytes); }
  void do_broadcast(void* /*data*/, int64_t /*bytes*/, int /*root*/) override {}
  void do_barrier() override {}
};

// Where the threads of run_ranks() meet: each shows its buffer, all read, and none goes on before all have.
class Meeting {
 public:
  explicit Meeting(int size) : buffers_(static_cast<size_t>(size)) {}

  // Throws RankFailure where a rank has failed.
  void wait() {
    std::unique_lock lock(mutex_);
    if (ended_ > 0 && failed_.empty()) fail_by_end();
    const int64_t round = round_;
    if (failed_.empty() && ++waiting_ == static_cast<int>(buffers_.size())) {
      waiting_ = 0;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round || !failed_.empty(); });
    if (round_ == round) throw RankFailure(failed_);
  }

  void show(int rank, const void* buffer) { buffers_[static_cast<size_t>(rank)] = buffer; }
  const void* buffer_of(int rank) const { return buffers_[static_cast<size_t>(rank)]; }

  // A rank has come to its end. Nobody may wait for it any more.
  void end() {
    const std::lock_guard lock(mutex_);
    ++ended_;
    if (waiting_ > 0 && failed_.empty()) fail_by_end();
  }
  // The first rank that fails is the one that counts.
  void fail(int rank, const std::string& why, std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!failed_.empty()) return;
    failed_ = fmt::format("rank {} of {} ended: {}", rank, buffers_.size(), why);
    error_ = std::move(error);
    changed_.notify_all();
  }
  std::exception_ptr error() const { return error_; }

 private:
  void fail_by_end() {
    failed_ = fmt::format("{} of {} ranks ended while the others went on", ended_, buffers_.size());
    error_ = std::make_exception_ptr(RankFailure(failed_));
    changed_.notify_all();
  }

  std::vector<const void*> buffers_;  // each is written by its rank, between two waits
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0, ended_ = 0;
  int64_t round_ = 0;
  std::string failed_;
  std::exception_ptr error_;
};

class Threads : public Communicator {
 public:
  Threads(Meeting& meeting, int rank, int size, bool queues)
      : Communicator(rank, size), meeting_(meeting), queues_(queues) {}
  const char* name() const override { return "threads"; }
  bool queues_on(DeviceType type) const override { return queues_ && type != DeviceType::cpu; }

  // Queued calls come before what follows on the host: a device that runs lazily would otherwise keep a rank
  // waiting whose own runs already, while this one waits for that rank here.
  void run_queued() {
    if (device_) runtime(*device_).synchronize(current_stream(*device_));
  }

 protected:
  void queue(Exchange which, const void* from, void* to, int64_t bytes, Device device) override {
    device_ = device;
    const auto work = [=, this](void* /*native_stream*/) {
      which == Exchange::all_to_all ? swap(from, to, bytes) : gather(from, to, bytes);
    };
    const char* const name = which == Exchange::all_to_all ? "all_to_all" : "all_gather";
    runtime(device).launch(current_stream(device), name, {{from, false}, {to, true}}, work);
  }
  void do_all_to_all(const void* from, void* to, int64_t bytes) override {
    run_queued();
    swap(from, to, bytes);
  }
  void do_all_gather(const void* from, void* to, int64_t bytes) override {
    run_queued();
    gather(from, to, bytes);
  }
  void do_broadcast(void* data, int64_t bytes, int root) override {
    run_queued();
    exchange(data, [&](int other, const void* theirs) {
      if (other == root) copy(data, theirs, bytes);
    });
  }
  void do_barrier() override {
    run_queued();
    meeting_.wait();
  }

 private:
  void swap(const void* from, void* to, int64_t bytes) {
    exchange(from, [&](int other, const void* theirs) {
      copy(at(to, other * bytes), at(theirs, rank() * bytes), bytes);
    });
  }
  void gather(const void* from, void* to, int64_t bytes) {
    exchange(from, [&](int other, const void* theirs) { copy(at(to, other * bytes), theirs, bytes); });
  }
  template <class Read>
  void exchange(const void* mine, const Read& read) {
    meeting_.show(rank(), mine);
    meeting_.wait();
    for (int other = 0; other < size(); ++other) read(other, meeting_.buffer_of(other));
    meeting_.wait();
  }

  Meeting& meeting_;
  const bool queues_;
  std::optional<Device> device_;  // where calls were queued
};

}  // namespace

void Communicator::all_to_all(const void* from, void* to, int64_t bytes) {
  do_all_to_all(from, to, bytes);
  bytes_sent_ += (size_ - 1) * bytes;
}

void Communicator::all_gather(const void* from, void* to, int64_t bytes) {
  do_all_gather(from, to, bytes);
  bytes_sent_ += (size_ - 1) * bytes;
}

void Communicator::all_to_all(const Tensor& from, const Tensor& to) {
  MEDFUSION_CHECK(from.bytes() == to.bytes() && from.bytes() % size_ == 0,
                  "all to all of {} ranks: {} bytes and room for {}", size_, from.bytes(), to.bytes());
  exchange(Exchange::all_to_all, from, to);
}

void Communicator::all_gather(const Tensor& from, const Tensor& to) {
  MEDFUSION_CHECK(from.bytes() * size_ == to.bytes(), "all gather of {} ranks: {} bytes and room for {}",
                  size_, from.bytes(), to.bytes());
  exchange(Exchange::all_gather, from, to);
}

void Communicator::exchange(Exchange which, const Tensor& from, const Tensor& to) {
  MEDFUSION_CHECK(from.device() == to.device() && from.view().contiguous() && to.view().contiguous(),
                  "{} ranks exchange tensors without gaps on one device", size_);
  const int64_t bytes = to.bytes() / size_;
  if (queues_on(to.device().type)) {
    queue(which, from.view().data, to.view().data, bytes, to.device());
    bytes_sent_ += (size_ - 1) * bytes;
    return;
  }
  const Tensor own = from.to(Device{});
  const Tensor all = to.device() == Device{} ? to : Tensor::empty(to.shape(), to.dtype());
  which == Exchange::all_to_all ? all_to_all(own.view().data, all.view().data, bytes)
                                : all_gather(own.view().data, all.view().data, bytes);
  if (!all.shares_storage_with(to)) to.copy_from(all);
}

void Communicator::queue(Exchange /*which*/, const void* /*from*/, void* /*to*/, int64_t /*bytes*/,
                         Device device) {
  throw Error(fmt::format("{} does not reach {}", name(), name_of(device.type)));
}

void Communicator::broadcast(void* data, int64_t bytes, int root) {
  MEDFUSION_CHECK(root >= 0 && root < size_, "broadcast: rank {} of {}", root, size_);
  do_broadcast(data, bytes, root);
  if (rank_ == root) bytes_sent_ += (size_ - 1) * bytes;
}

void Communicator::barrier() { do_barrier(); }

std::unique_ptr<Communicator> single_communicator() { return std::make_unique<Single>(); }

void run_ranks(int ranks, const std::function<void(Communicator&)>& body, bool queues) {
  MEDFUSION_CHECK(ranks >= 1, "run_ranks: expected at least 1 rank, got {}", ranks);
  Meeting meeting(ranks);
  const auto run = [&](int rank) {
    Threads communicator(meeting, rank, ranks, queues);
    try {
      body(communicator);
      communicator.run_queued();
      meeting.end();
      return;
    } catch (const std::exception& error) {
      meeting.fail(rank, error.what(), std::current_exception());
    } catch (...) {
      meeting.fail(rank, "an unknown exception", std::current_exception());
    }
    try {
      communicator.run_queued();  // what is left would look for this object
    } catch (...) {               // the first failure counts
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) threads.emplace_back(run, rank);
  for (std::thread& thread : threads) thread.join();
  if (meeting.error()) std::rethrow_exception(meeting.error());
}

bool launched_by_mpi() {
  // Open MPI and PRRTE; MPICH and Intel MPI; srun with PMIx or PMI-2.
  constexpr const char* kVariables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
  return std::ranges::any_of(kVariables, [](const char* name) { return std::getenv(name) != nullptr; });
}

std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text) {
  const auto size = static_cast<int64_t>(text.size());
  std::vector<int64_t> sizes(static_cast<size_t>(ranks.size()));
  ranks.all_gather(&size, sizes.data(), sizeof(size));
  const int64_t longest = *std::ranges::max_element(sizes);
  std::string own = text, all(static_cast<size_t>(longest * ranks.size()), '\0');
  own.resize(static_cast<size_t>(longest));
  ranks.all_gather(own.data(), all.data(), longest);
  std::vector<std::string> texts;
  for (size_t i = 0; i < sizes.size(); ++i)
    texts.push_back(all.substr(i * static_cast<size_t>(longest), static_cast<size_t>(sizes[i])));
  return texts;
}

bool any_rank(Communicator& ranks, bool here) {
  if (ranks.size() == 1) return here;
  const char own = here ? 1 : 0;
  std::string all(static_cast<size_t>(ranks.size()), '\0');
  ranks.all_gather(&own, all.data(), 1);
  return all.find('\1') != std::string::npos;
}

}  // namespace medfusion::core
