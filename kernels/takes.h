// What variants of any operation may ask of its tensors, those that a contract lists in tensors(). A variant
// names them in its registration (kernels/registry.h); both the text of `medfusion kernels list` and the
// check of dispatch follow.
#pragma once

#include <algorithm>
#include <span>

#include "core/view.h"

namespace medfusion::kernels {

using Tensors = std::span<const core::View* const>;

struct TensorRequirement {
  const char* text;
  bool (*holds)(Tensors tensors);
};

// The last dimension lies without gaps.
inline bool last_adjacent(const core::View& x) { return x.size(-1) <= 1 || x.stride(-1) == 1; }

namespace takes {

// Whether it holds for every tensor that was given.
template <class Check>
bool each(Tensors tensors, const Check& check) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const core::View* x) { return !x->defined() || check(*x); });
}

// All of one type, which is among these.
template <core::DType... kTypes>
bool one_type(Tensors tensors) {
  const auto same = [&](core::DType type) {
    return each(tensors, [&](const core::View& x) { return x.dtype == type; });
  };
  return (same(kTypes) || ...);
}

inline constexpr TensorRequirement f32{"f32", one_type<core::DType::f32>};
inline constexpr TensorRequirement f64{"f64", one_type<core::DType::f64>};
inline constexpr TensorRequirement bf16{"bf16", one_type<core::DType::bf16>};
inline constexpr TensorRequirement f32_or_bf16{"f32 or bf16", one_type<core::DType::f32, core::DType::bf16>};

inline constexpr TensorRequirement any_dtype{"any dtype", [](Tensors) { return true; }};
inline constexpr TensorRequirement any_strides{"any strides", [](Tensors) { return true; }};
inline constexpr TensorRequirement not_empty{
    "not empty",
    [](Tensors tensors) { return each(tensors, [](const core::View& x) { return x.numel() > 0; }); }};
inline constexpr TensorRequirement contiguous{
    "contiguous",
    [](Tensors tensors) { return each(tensors, [](const core::View& x) { return x.contiguous(); }); }};
inline constexpr TensorRequirement uniform_rows{
    "rows at one stride",
    [](Tensors tensors) { return each(tensors, [](const core::View& x) { return x.rows_uniform(); }); }};
inline constexpr TensorRequirement short_rows{
    "fewer than 2^30 columns", [](Tensors tensors) {
      return each(tensors, [](const core::View& x) { return x.size(-1) < int64_t{1} << 30; });
    }};
inline constexpr TensorRequirement adjacent_channels{
    "adjacent channels", [](Tensors tensors) { return each(tensors, last_adjacent); }};
inline constexpr TensorRequirement adjacent_columns{"adjacent columns", adjacent_channels.holds};
inline constexpr TensorRequirement uniform_pixels{
    "pixels at one stride", [](Tensors tensors) {
      return each(tensors, [](const core::View& x) { return x.rows_uniform() && last_adjacent(x); });
    }};

}  // namespace takes
}  // namespace medfusion::kernels
