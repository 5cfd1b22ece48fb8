#include "kernels/simd_level.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd_level.cpp"
#include "kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {

const char* level() { return hwy::TargetName(HWY_TARGET); }
int64_t float_lanes() {
  return static_cast<int64_t>(hwy::HWY_NAMESPACE::Lanes(hwy::HWY_NAMESPACE::ScalableTag<float>()));
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {

HWY_EXPORT(level);
HWY_EXPORT(float_lanes);

std::string simd_level() { return HWY_DYNAMIC_DISPATCH(level)(); }
int64_t simd_float_lanes() { return HWY_DYNAMIC_DISPATCH(float_lanes)(); }

}  // namespace medfusion::kernels
#endif
