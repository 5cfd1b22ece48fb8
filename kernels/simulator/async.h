// What a block keeps of mbarriers, bulk copies and wgmma while it runs.
#pragma once

#include <deque>
#include <map>

#include "kernels/simulator/mbarrier.h"
#include "kernels/simulator/wgmma.h"

namespace medfusion::simulator {

struct Async {
  struct Warpgroup {
    std::deque<WgmmaOperation> operations;
    int64_t first = 0;               // number of the first of them
    int64_t computed = 0;            // how many have their results
    std::array<int64_t, 4> ended{};  // how many each warp has waited for
    std::vector<RegisterChange> register_changes;
    WgmmaOperation& operation(int64_t number) { return operations[static_cast<size_t>(number - first)]; }
  };
  struct Thread {
    // Sums that operations still change: the thread's own are poisoned meanwhile.
    struct Sums {
      float* at;
      std::vector<float> values;
      int64_t last;  // operation
      std::source_location site;
    };
    int64_t mbarrier = 0;  // that it waits for
    unsigned parity = 0;
    int64_t issued = 0, delivered = 0;
    bool fenced = false;
    std::vector<int64_t> groups;  // how many were issued at each commit
    std::vector<Sums> in_flight;
    size_t register_changes = 0;
  };

  std::map<int64_t, MBarrier> mbarriers;  // by byte of shared memory
  int copy_warps = 0;
  std::array<uint32_t, kCopyWarps> copy_clocks{};
  std::vector<Warpgroup> warpgroups;
  std::vector<Thread> threads;
  std::vector<float> sums;
};

}  // namespace medfusion::simulator
