// An mbarrier in shared memory, and the bulk copies that report to it.
#pragma once

#include <cstdint>
#include <source_location>
#include <vector>

#include "kernels/simulator/shadow.h"
#include "kernels/simulator/tensor_map.h"

namespace medfusion::simulator {

// Started, and without effect until somebody waits for its mbarrier.
struct BulkCopy {
  TensorMap map;
  std::array<int64_t, kTensorRank> place;  // of the box's first element
  int64_t to;                              // byte of shared memory
  int thread;
  std::source_location site;
};

struct MBarrier {
  int expected = 0;   // arrivals of a phase
  int pending = 0;    // of the current one
  int64_t bytes = 0;  // expected of copies in the current phase and not brought
  int64_t phase = 0;  // phases completed
  int waiting = 0;    // threads
  int copy_warp = -1;
  Known arrived{};   // what those who arrived in this phase know
  Known released{};  // what is known after the last completed phase
  std::vector<BulkCopy> copies;
  // Of its initialization.
  int thread = -1;
  uint16_t fences = 0;
  std::source_location site;
};

}  // namespace medfusion::simulator
