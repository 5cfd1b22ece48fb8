#include "kernels/gemm/rows.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/rows.cpp"
#include "kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::gemm::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::HWY_NAMESPACE::load_n;
using kernels::HWY_NAMESPACE::store_n;
using D = hn::ScalableTag<float>;

void affine_relu(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, const float* scale,
                 const float* shift, float* to, int64_t to_stride) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = channels / lanes * lanes;
  const auto zero = hn::Zero(d);
  for (int64_t p = 0; p < pixels; ++p, from += from_stride, to += to_stride) {
    for (int64_t c = 0; c < whole; c += lanes) {
      const auto y = hn::MulAdd(hn::LoadU(d, scale + c), hn::LoadU(d, from + c), hn::LoadU(d, shift + c));
      hn::StoreU(hn::Max(y, zero), d, to + c);
    }
    if (whole < channels) {
      const auto n = static_cast<size_t>(channels - whole);
      const auto y =
          hn::MulAdd(load_n(d, scale + whole, n), load_n(d, from + whole, n), load_n(d, shift + whole, n));
      store_n(hn::Max(y, zero), d, to + whole, n);
    }
  }
}

}  // namespace medfusion::kernels::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels::gemm {

HWY_EXPORT(affine_relu);

void affine_relu_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels,
                      const float* scale, const float* shift, float* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(affine_relu)(from, from_stride, pixels, channels, scale, shift, to, to_stride);
}

void copy_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, float* to,
               int64_t to_stride) {
  if (from_stride == channels && to_stride == channels) {
    std::memcpy(to, from, static_cast<size_t>(pixels * channels) * sizeof(float));
    return;
  }
  for (int64_t p = 0; p < pixels; ++p) {
    std::memcpy(to + p * to_stride, from + p * from_stride, static_cast<size_t>(channels) * sizeof(float));
  }
}

}  // namespace medfusion::kernels::gemm
#endif  // HWY_ONCE
