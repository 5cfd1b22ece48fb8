// Stands for runtime_cuda.cpp in a build without nvcc, so that `cuda` is a known name there.
#include "core/error.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/nccl_ranks.h"

namespace medfusion::kernels::cuda {

[[maybe_unused]] static const bool registered = [] {
  core::register_runtime(kDeviceType, [](int index) -> std::unique_ptr<core::Runtime> {
    throw core::Error(fmt::format("device cuda:{} is not available in this build", index));
  });
  return true;
}();

std::string nccl_missing() { return "the cuda device is not built"; }

std::unique_ptr<core::Communicator> nccl_communicator(core::Communicator& /*control*/,
                                                      core::Device /*device*/) {
  throw core::Error(nccl_missing());
}

}  // namespace medfusion::kernels::cuda
