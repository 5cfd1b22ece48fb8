// Ranks on NVIDIA's GPUs: tensors on `cuda` go from device to device by NCCL.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.h"
#include "core/device.h"

namespace medfusion::kernels::cuda {

// Why no tensor can go by NCCL: this build or this machine lacks it. Empty where nothing is missing.
std::string nccl_missing();

// The ranks of `control`, which carries all that lies on the host and outlives the result. Every rank calls
// this, with a device of its own. Throws core::RankFailure with what NCCL says, of two ranks on one device
// for one.
std::unique_ptr<core::Communicator> nccl_communicator(core::Communicator& control, core::Device device);

}  // namespace medfusion::kernels::cuda
