#include "tools/medfusion/run/ranks.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "core/runtime.h"
#include "core/tell.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/nccl_ranks.h"

namespace medfusion::tools {
namespace {

core::Communicator* known = nullptr;  // once it was asked for
int standard_error = STDERR_FILENO;   // as it was at first

core::Communicator& alone() {
  static const std::unique_ptr<core::Communicator> single = core::single_communicator();
  return *single;
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unknown host";
}

}  // namespace

core::Communicator& job_ranks() {
  if (known == nullptr) known = core::launched_by_mpi() ? &core::mpi_communicator() : &alone();
  return *known;
}

core::Communicator* several_ranks() { return job_ranks().size() > 1 ? &job_ranks() : nullptr; }

AloneScope::AloneScope() : before_(std::exchange(known, &alone())) {}

AloneScope::~AloneScope() { known = before_; }

bool is_speaker() { return known == nullptr || known->rank() == 0; }

std::string name_of_rank() {
  const core::Communicator& ranks = job_ranks();
  return fmt::format("rank {} of {} on {}", ranks.rank(), ranks.size(), host_name());
}

void hush_other_ranks() {
  if (job_ranks().rank() == 0) return;
  const char* const folder = std::getenv("MEDFUSION_RANK_LOGS");
  std::string file = "/dev/null";
  if (folder != nullptr && *folder != '\0')
    file = (std::filesystem::path(folder) / fmt::format("rank{}.log", job_ranks().rank())).string();
  const int log = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log < 0)
    core::throw_input_error({file}, "cannot be written: {}", std::generic_category().message(errno));
  standard_error = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::close(log);
}

void tell_from_any_rank(const std::string& line) {
  const std::string text = line + "\n";
  [[maybe_unused]] const ssize_t written = ::write(standard_error, text.data(), text.size());
}

core::Device device_of_local_rank(core::DeviceType type, int local) {
  const core::Device own{type, local}, second{type, 1};
  if (core::is_present(own)) return own;
  if (!core::is_present(second)) return {type, 0};
  core::throw_input_error({},
                          "--device {}: expected a device for each rank of a host, got no {}:{} for rank {}",
                          type.name(), type.name(), local, job_ranks().rank());
}

core::Communicator* ranks_on(core::Device device) {
  core::Communicator& ranks = job_ranks();
  core::Communicator* const through_host = ranks.size() > 1 ? &ranks : nullptr;
  const char* const set = std::getenv("MEDFUSION_EXCHANGE");
  const std::string asked = set == nullptr ? "" : set;
  const bool needs_nccl = asked == "nccl";
  if (!asked.empty() && !needs_nccl && asked != "host")
    core::throw_input_error({}, "MEDFUSION_EXCHANGE: expected nccl or host, got '{}'", asked);
  check_same_on_ranks(ranks, "the device", core::name_of(device.type));
  check_same_on_ranks(ranks, "MEDFUSION_EXCHANGE", asked.empty() ? "not set" : asked);
  const bool is_cuda = device.type == kernels::cuda::kDeviceType;
  if (needs_nccl && !is_cuda) {
    core::throw_input_error({}, "MEDFUSION_EXCHANGE=nccl: expected --device cuda, got {}",
                            core::name_of(device.type));
  }
  if (!is_cuda || asked == "host" || (through_host == nullptr && !needs_nccl)) return through_host;
  const std::vector<std::string> lacks = core::gather_texts(ranks, kernels::cuda::nccl_missing());
  for (const std::string& lack : lacks) {
    if (lack.empty()) continue;
    if (needs_nccl) core::throw_input_error({}, "MEDFUSION_EXCHANGE=nccl: {}", lack);
    if (is_speaker()) core::tell("note: ranks exchange tensors through the host: {}\n", lack);
    return through_host;
  }
  // Kept to the end of the process: destroying it waits for the other ranks, which may have failed.
  static core::Communicator* const nccl = kernels::cuda::nccl_communicator(ranks, device).release();
  return nccl;
}

void check_same_on_ranks(core::Communicator& ranks, const std::string& what, const std::string& text) {
  if (ranks.size() == 1) return;
  const std::vector<std::string> texts = core::gather_texts(ranks, text),
                                 hosts = core::gather_texts(ranks, host_name());
  for (size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] == texts[0]) continue;
    core::throw_input_error({}, "{} of rank {} on {} differs from that of rank 0 on {}: {} and {}", what,
                            rank, hosts[rank], hosts[0], texts[rank], texts[0]);
  }
}

}  // namespace medfusion::tools
