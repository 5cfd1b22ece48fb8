// What several differentiable functions check of their arguments.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

inline void check_f32_or_f64(const char* function, const core::Variable& x) {
  MEDFUSION_CHECK(x.dtype() == core::DType::f32 || x.dtype() == core::DType::f64,
                  "{}: expected f32 or f64, got {}", function, core::name_of(x.dtype()));
}
inline void check_floating(const char* function, const core::Variable& x) {
  MEDFUSION_CHECK(core::is_floating(x.dtype()), "{}: expected f32, f64 or bf16, got {}", function,
                  core::name_of(x.dtype()));
}

// x, or a copy that kernels can take as rows of one stride.
inline core::Tensor uniform_rows(const core::Tensor& x) {
  return x.view().rows_uniform() ? x : x.to_contiguous();
}

}  // namespace medfusion::layers
