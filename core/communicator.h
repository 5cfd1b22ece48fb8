// Ranks that work on one problem together: processes under MPI, devices under NCCL, or threads of one
// process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/error.h"

namespace medfusion::core {

class Tensor;

// What ranks tell each other. Every call is collective: all ranks make it, in the same order and with the
// same sizes; it returns when this rank's part is done. Where another rank has ended or failed, a call throws
// RankFailure, or the job ends (MPI). The bytes do not depend on which communicator carries them.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual const char* name() const = 0;  // "single", "mpi", "nccl", "threads"
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Both buffers hold size() chunks of `bytes`, in the order of the ranks. Chunk i of `from` goes to rank i,
  // and chunk i of `to` is what rank i sent here. The buffers do not overlap.
  void all_to_all(const void* from, void* to, int64_t bytes);
  // The same where every chunk sent is `from`, of `bytes`. `from` may be the chunk of `to` that is its place.
  void all_gather(const void* from, void* to, int64_t bytes);
  // The two for tensors on one device, without gaps: `to` holds size() chunks in all, and `from` as many, or
  // one where it is gathered. Where queues_on() the device, a call is queued on its current stream, as a
  // kernel is, and a graph may capture it, if all ranks capture it. Elsewhere the bytes go through the host,
  // which waits for them.
  void all_to_all(const Tensor& from, const Tensor& to);
  void all_gather(const Tensor& from, const Tensor& to);
  virtual bool queues_on(DeviceType /*type*/) const { return false; }

  // `data` of the root, on every rank.
  void broadcast(void* data, int64_t bytes, int root = 0);
  void barrier();

  // What this rank has sent to others so far, in bytes, as the algorithms of the calls above need at least: a
  // broadcast counts on its root.
  int64_t bytes_sent() const { return bytes_sent_; }
  // For a graph that is replayed: what its calls send, which counted when they were captured.
  void count_sent(int64_t bytes) { bytes_sent_ += bytes; }

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

  enum class Exchange { all_to_all, all_gather };

  // Of the memory of a device that queues_on() allows; chunks of `bytes`.
  virtual void queue(Exchange which, const void* from, void* to, int64_t bytes, Device device);
  virtual void do_all_to_all(const void* from, void* to, int64_t bytes) = 0;
  virtual void do_all_gather(const void* from, void* to, int64_t bytes) = 0;
  virtual void do_broadcast(void* data, int64_t bytes, int root) = 0;
  virtual void do_barrier() = 0;

 private:
  void exchange(Exchange which, const Tensor& from, const Tensor& to);

  int rank_, size_;
  int64_t bytes_sent_ = 0;
};

// Another rank has ended or failed; what() says which and why, where that is known.
class RankFailure : public Error {
 public:
  using Error::Error;
};

// One rank: every call is a copy.
std::unique_ptr<Communicator> single_communicator();

// Runs `body` on `ranks` threads of this process, each with a communicator of its own, and returns when all
// have ended. What the first of them throws is rethrown, and the others' calls throw RankFailure.
//
// With `queues`, tensors on devices are exchanged by work on their queues, so that what is written for NCCL
// runs without it. Such a device must have memory that the host can read, as the simulated ones have. Each
// rank needs one of its own, and before it exchanges anything on the host, its current stream waits for what
// it has queued on others.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body, bool queues = false);

// Whether this process was started by mpirun, srun or another launcher of MPI.
bool launched_by_mpi();
// Whether this build has MPI.
bool has_mpi();
// The ranks of the MPI job; MPI is initialized with the first call and finalized when the process exits.
// Throws Error where the build has no MPI. Call from one thread.
Communicator& mpi_communicator();
// The number of this rank of the MPI job among those of its host, from 0. Throws Error where the build has no
// MPI.
int local_mpi_rank();
// The library of MPI, such as "Open MPI v4.1.4"; empty where the build has none.
std::string mpi_version();
// Ends every rank of the job at once with `code`; does not return. For when a rank fails and the others wait.
[[noreturn]] void abort_mpi(int code);

// Every rank's text, in the order of the ranks.
std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text);
// Whether any rank says so.
bool any_rank(Communicator& ranks, bool here);

}  // namespace medfusion::core
