// The ranks of a job that mpirun or srun started: each is this program with the same arguments. Rank 0 alone
// writes and speaks.
#pragma once

#include <string>

#include "core/communicator.h"
#include "core/device.h"

namespace medfusion::tools {

// All ranks of this job; a single one where no launcher of MPI started the program. Throws core::Error where
// one did and this build has no MPI.
core::Communicator& job_ranks();

// The same; null where there is only one.
core::Communicator* several_ranks();

// While one of these lives, this rank works alone: job_ranks() is a single one, which writes and speaks.
class AloneScope {
 public:
  AloneScope();
  ~AloneScope();
  AloneScope(const AloneScope&) = delete;
  AloneScope& operator=(const AloneScope&) = delete;

 private:
  core::Communicator* before_;
};

// Whether this rank writes and speaks. Does not throw: true where there are no ranks.
bool is_speaker();

// "rank 2 of 4 on HOST"
std::string name_of_rank();

// On ranks that do not speak, standard output and error go to rankN.log in the folder that
// MEDFUSION_RANK_LOGS names, or nowhere. Called once, before anything is printed.
void hush_other_ranks();
// A line on what standard error was before.
void tell_from_any_rank(const std::string& line);

// Of `type`, the device of the rank that is number `local` on its host: that number, or the first where there
// is only one, for a launcher may show each rank its own. Throws core::InputError where a host has more ranks
// than devices.
core::Device device_of_local_rank(core::DeviceType type, int local);

// The ranks of this job as they exchange tensors on `device`; null where there is only one. On `cuda` tensors
// go by NCCL, and where a rank lacks it, through the host: a note says so. MEDFUSION_EXCHANGE=host chooses
// the latter; with MEDFUSION_EXCHANGE=nccl a lack of NCCL is a core::InputError, and a single rank uses it as
// well. All ranks call this.
core::Communicator* ranks_on(core::Device device);

// Throws core::InputError naming the first rank that has another `text` than rank 0: `what` differs there.
void check_same_on_ranks(core::Communicator& ranks, const std::string& what, const std::string& text);

}  // namespace medfusion::tools
