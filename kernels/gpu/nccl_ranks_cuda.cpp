// NCCL's functions come from libraries_cuda.cpp. It has not run on a GPU yet.
#include <cuda_runtime_api.h>

#include "kernels/gpu/libraries_cuda.h"
#include "kernels/gpu/nccl_ranks.h"
#if __has_include(<nccl.h>)
#include <nccl.h>
#endif

#include "core/error.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/status_cuda.h"

namespace medfusion::kernels::cuda {

std::string nccl_missing() {
  for (const LibraryState& library : library_states()) {
    if (library.title != "NCCL") continue;
    if (!library.built_with) return "this program was built without NCCL's header; " + library.remedy;
    if (library.path.empty()) return "NCCL is not found; " + library.remedy;
  }
  return {};
}

#if defined(NCCL_VERSION_CODE) && NCCL_VERSION_CODE >= 21300
namespace {

class NcclRanks : public core::Communicator {
 public:
  NcclRanks(core::Communicator& control, core::Device device)
      : Communicator(control.rank(), control.size()), control_(control), device_(device) {
    ncclUniqueId id{};
    if (rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    control.broadcast(&id, sizeof(id));
    const CudaDeviceGuard guard(device.index);
    check(ncclCommInitRank(&ranks_, size(), id, rank()), "ncclCommInitRank");
  }
  // Waits for the other ranks, which must come here too; graphs with calls of this object must be gone.
  ~NcclRanks() override { ncclCommDestroy(ranks_); }

  const char* name() const override { return "nccl"; }
  bool queues_on(core::DeviceType type) const override { return type == kDeviceType; }

 protected:
  void queue(Exchange which, const void* from, void* to, int64_t bytes, core::Device device) override {
    MEDFUSION_CHECK(device == device_, "rank {} has cuda:{}, and is asked for a tensor on cuda:{}", rank(),
                    device_.index, device.index);
    ncclResult_t state = ncclSuccess;  // of what was queued before: a connection that is broken, for one
    check(ncclCommGetAsyncError(ranks_, &state), "ncclCommGetAsyncError");
    check(state, "an earlier call");
    const bool swaps = which == Exchange::all_to_all;
    core::runtime(device).launch(core::current_stream(device), swaps ? "nccl_all_to_all" : "nccl_all_gather",
                                 {{from, false}, {to, true}}, [&](void* native_stream) {
                                   auto* const stream = static_cast<cudaStream_t>(native_stream);
                                   swaps ? swap(from, to, bytes, stream) : gather(from, to, bytes, stream);
                                 });
  }
  void do_all_to_all(const void* from, void* to, int64_t bytes) override {
    control_.all_to_all(from, to, bytes);
  }
  void do_all_gather(const void* from, void* to, int64_t bytes) override {
    control_.all_gather(from, to, bytes);
  }
  void do_broadcast(void* data, int64_t bytes, int root) override { control_.broadcast(data, bytes, root); }
  void do_barrier() override { control_.barrier(); }

 private:
  void check(ncclResult_t result, const char* call) const {
    if (result == ncclSuccess || result == ncclInProgress) return;
    throw core::RankFailure(fmt::format("NCCL on cuda:{}: {}: {} ({})", device_.index, call,
                                        ncclGetErrorString(result), ncclGetLastError(ranks_)));
  }

  // NCCL's own recipe for an all to all; ncclAlltoAll came with 2.28.
  void swap(const void* from, void* to, int64_t bytes, cudaStream_t stream) const {
    const auto count = static_cast<size_t>(bytes);
    check(ncclGroupStart(), "ncclGroupStart");
    for (int other = 0; other < size(); ++other) {
      check(ncclSend(static_cast<const char*>(from) + other * bytes, count, ncclUint8, other, ranks_, stream),
            "ncclSend");
      check(ncclRecv(static_cast<char*>(to) + other * bytes, count, ncclUint8, other, ranks_, stream),
            "ncclRecv");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
  }
  void gather(const void* from, void* to, int64_t bytes, cudaStream_t stream) const {
    check(ncclAllGather(from, to, static_cast<size_t>(bytes), ncclUint8, ranks_, stream), "ncclAllGather");
  }

  core::Communicator& control_;
  const core::Device device_;
  ncclComm_t ranks_ = nullptr;
};

}  // namespace

std::unique_ptr<core::Communicator> nccl_communicator(core::Communicator& control, core::Device device) {
  return std::make_unique<NcclRanks>(control, device);
}
#else
std::unique_ptr<core::Communicator> nccl_communicator(core::Communicator& /*control*/,
                                                      core::Device /*device*/) {
  throw core::Error(nccl_missing());
}
#endif

}  // namespace medfusion::kernels::cuda
