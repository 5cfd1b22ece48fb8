// For tests that show a detector of the simulator a kernel that commits its fault.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "kernels/gpu/device.cuh"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels {

inline constexpr core::Device kSim{simulator::kDeviceType, 0};

inline int thread() { return static_cast<int>(threadIdx.x); }

// Runs one block of `threads`; returns the error, or "" where there was none. Every error must name the
// kernel, the block, the thread, the file and line, and the seed.
template <class Kernel>
std::string fault_of(int threads, int64_t shared_bytes, const Kernel& kernel) {
  try {
    simulator::run("faulty", {1}, {static_cast<unsigned>(threads)}, shared_bytes, kernel);
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), testing::MatchesRegex("faulty: block \\(0,0,0\\) thread \\([0-9]+,0,0\\) at "
                                                    "tests/kernels/simulator/[a-z_]+\\.cpp:[0-9]+: .+ "
                                                    "\\[MEDFUSION_SIM_SEED=[0-9]+\\]"));
    return error.what();
  }
  return "";
}

}  // namespace medfusion::kernels
