// The device type `cuda`: NVIDIA GPUs. In every build; its runtime only where nvcc was found.
#pragma once

#include "core/device.h"

namespace medfusion::kernels::cuda {

inline constexpr core::DeviceType kDeviceType{1, "cuda"};

}  // namespace medfusion::kernels::cuda
