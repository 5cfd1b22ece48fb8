// How many warps of a kernel fit on a multiprocessor at once, by the limits of its architecture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace medfusion::tools {

inline constexpr int64_t kReservedShared =
    1024;  // bytes of shared memory of each block that the driver keeps

struct Occupancy {
  int blocks = 0;  // resident on one multiprocessor
  int warps = 0;
  double share = 0;   // of the warps that the multiprocessor can hold
  std::string limit;  // what allows no more: "threads", "registers", "shared memory" or "blocks"
};

// Limits and granularities: CUDA C++ Programming Guide, "Compute Capabilities", for 8.0 and 9.0. Empty for
// other architectures, and where the threads per block are not known (0). `shared_bytes` without what the
// driver reserves.
std::optional<Occupancy> occupancy_of(const std::string& architecture, int registers, int64_t shared_bytes,
                                      int threads);

}  // namespace medfusion::tools
