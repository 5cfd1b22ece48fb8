// The device type `sim`: the CUDA kernels, simulated on the cpu.
#pragma once

#include "core/device.h"

namespace medfusion::simulator {

inline constexpr core::DeviceType kDeviceType{2, "sim"};

}  // namespace medfusion::simulator
