// The row of elementwise_cpu.cpp, shared by its instruction sets.
#pragma once

#include <cstdint>

namespace medfusion::kernels::elementwise {

// What one row computes from p, q and r.
enum class RowOp : uint8_t {
  add,           // p + q
  sub,           // p - q
  mul,           // p q
  div,           // p / q
  negate,        // -p
  divisor_grad,  // -p q / r^2
};

struct RowArgs {
  const float *p, *q, *r;
  float* out;
  int64_t step_p, step_q, step_r, step_out;  // in elements
  int64_t n;
};

}  // namespace medfusion::kernels::elementwise
