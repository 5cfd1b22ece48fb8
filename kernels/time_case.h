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
// count), and operations per second of large square matrix products: of f32, never rounded to TF32, and of
// bf16 with f32 sums. 0 where the device has no such product.
struct Ceilings {
  double bytes_per_second = 0.0;
  double flops_per_second = 0.0;
  double bf16_flops_per_second = 0.0;
  // The product that work in this precision is held against.
  double flops_of(core::DType precision) const {
    return precision == core::DType::bf16 ? bf16_flops_per_second : flops_per_second;
  }
};
// Sizes of what is measured; 0: by the device, large enough to keep it busy.
struct CeilingSizes {
  int64_t bytes = 0, product = 0, bf16_product = 0;  // of the copy; rows of the matrices
  double seconds = 0.3;                              // on each
};
Ceilings measure_ceilings(core::Device device, const CeilingSizes& sizes = {});

}  // namespace medfusion::kernels
