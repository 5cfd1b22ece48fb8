// Times one case of an operation on one variant, and the ceilings of a device to compare it with.
#pragma once

#include <string>
#include <vector>

#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {

// Seconds of one call: median, and the tenth and ninetieth percentile, over batches of calls.
struct Timing {
  double median = 0.0, low = 0.0, high = 0.0;
  int64_t calls = 0;
  int64_t sets = 1;  // of tensors that calls took turns with
  // Memory of the device that one set of tensors and one call on it take, in bytes, by the allocator's
  // counters: the most that lives at once, and the most that is held, blocks that the call has freed and the
  // allocator keeps, and what blocks are rounded up by, included. Cached blocks are released before the set
  // is made and again before the call, so that nothing of other rows, nor of what made the set, counts. Of a
  // call that is not captured, before the clock starts; what a library takes for itself is not seen.
  int64_t peak_bytes = 0, reserved_bytes = 0;
};

// What a call does; `both`: a forward and then its backward.
enum class Pass : uint8_t { forward, backward, both };
const char* name_of(Pass pass);
// Operations, or bytes, of a pass.
double flops_of(const OpCase& op_case, Pass pass);
double bytes_of(const OpCase& op_case, Pass pass);

struct TimeOptions {
  double seconds = 0.5;
  // One graph of calls is captured and replayed, so that launches cost the host nothing.
  bool graph = false;
  // Sets of tensors that calls take turns with; 0: as many as exceed four times the device's cache, so that a
  // call finds nothing of its own there. Where the cache is not known (the cpu), one.
  int64_t sets = 0;
};

// Inputs and outputs of the case on a device and, where asked, their gradients, filled with a repeated
// pattern of draws; precision is f32 or bf16.
CaseTensors make_bench_tensors(const OpCase& op_case, core::Device device = {},
                               core::DType precision = core::DType::f32, bool gradients = true);

// Sets of tensors of the case that calls must take turns with to find nothing in a cache of that size.
int64_t sets_for(const OpCase& op_case, core::DType precision, int64_t cache_bytes);

// Runs the pass until options.seconds have passed, in batches that end with a synchronization. What a case
// prepares or finishes is not timed. Throws NoVariant where the variant does not support the case.
Timing time_case(const OpCase& op_case, const std::string& variant, Pass pass, core::Device device,
                 core::DType precision, const TimeOptions& options = {});

// Bytes per second of memory that is used over and over, by its size: the caches and what lies behind them.
struct MemoryRate {
  int64_t bytes = 0;
  double bytes_per_second = 0.0;
};

// What the device can do, measured. On a GPU: a copy within its memory (read and written bytes both count),
// and large square matrix products of f32, never rounded to TF32, and of bf16 with f32 sums; medians. On the
// cpu: multiply-adds of f32 in registers, and the fastest loops over memory (kernels/workshop/cpu_rates.h);
// the best of their batches, so that no row exceeds them. 0 where the device takes no such numbers.
struct Ceilings {
  double bytes_per_second = 0.0;  // of memory that no cache holds
  double flops_per_second = 0.0;
  double bf16_flops_per_second = 0.0;
  std::vector<MemoryRate> by_size = {};  // of the cpu, from the smallest size on
  // What work in this precision is held against.
  double flops_of(core::DType precision) const {
    return precision == core::DType::bf16 ? bf16_flops_per_second : flops_per_second;
  }
  // What a pass that moves so many bytes is held against: the best rate of the largest size up to that, and
  // of larger ones.
  double bytes_per_second_of(double bytes) const;
};
// Sizes of what is measured; 0: by the device, large enough to keep it busy.
struct CeilingSizes {
  int64_t bytes = 0;                      // of the copy; on the cpu the largest
  int64_t product = 0, bf16_product = 0;  // rows of the matrices
  double seconds = 0.3;                   // on each
};
Ceilings measure_ceilings(core::Device device, const CeilingSizes& sizes = {});

}  // namespace medfusion::kernels
