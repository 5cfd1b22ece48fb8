// Times one case of an operation on one variant, and the ceilings of a device to compare it with.
#pragma once

#include <string>

#include "kernels/op_case.h"

namespace medfusion::kernels {

// Seconds of one call: median, and the tenth and ninetieth percentile, over batches of calls.
struct Timing {
  double median = 0.0, low = 0.0, high = 0.0;
  int64_t calls = 0;
};

// Inputs, outputs and gradients of the case on a device, filled with a repeated pattern of draws; precision
// is f32 or bf16.
CaseTensors make_bench_tensors(const OpCase& op_case, core::Device device = {},
                               core::DType precision = core::DType::f32);

// Calls forward or backward until `seconds` have passed, in batches that end with a synchronization. Throws
// NoVariant where the variant does not support the case.
Timing time_case(const OpCase& op_case, const std::string& variant, bool backward, core::Device device,
                 core::DType precision, double seconds);

// What the device can do, measured: bytes per second of a copy within its memory (read and written bytes both
// count), and operations per second of a large f32 matrix product.
struct Ceilings {
  double bytes_per_second = 0.0;
  double flops_per_second = 0.0;
};
Ceilings measure_ceilings(core::Device device);

}  // namespace medfusion::kernels
