// Multi-head scaled dot-product attention (Vaswani et al. 2017), without ever holding the score matrix: keys
// go by in tiles under an online softmax (Dao et al., "FlashAttention", 2022).
//
// Head h owns channels [h W, (h + 1) W), W = channels / heads. For query i and key j of one sample and head,
//   s_ij = scale q_i . k_j      where key_mask and pair_mask both let i see j, -inf elsewhere
//   p_ij = exp(s_ij - L_i),     L_i = log sum_j exp(s_ij)
//   y_i  = sum_j p_ij v_j
// A query that sees no key has p = 0, y = 0, L = -inf and passes no gradient on.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// B samples, Tq queries, Tk keys, H heads, C = H W channels. All f32, all f64, or all bf16 but for
// log_sum_exp and probabilities, which are f32 then; rows may be strided (slices of one q|k|v tensor). Masks:
// bool, true = attend; undefined = all is seen. Nothing may overlap an output.
struct AttentionForward {
  static constexpr const char* kOperation = "attention";
  static constexpr const char* kDirection = "forward";
  int64_t heads;
  double scale;
  core::View q;              // [B, Tq, C]
  core::View k, v;           // [B, Tk, C]
  core::View key_mask;       // [B, Tk], optional
  core::View pair_mask;      // [Tq, Tk] or [B, Tq, Tk], optional
  core::View y;              // [B, Tq, C], overwritten
  core::View log_sum_exp;    // [B, H, Tq], L above, contiguous, overwritten
  core::View probabilities;  // optional, overwritten: p as [B, H, Tq, Tk], or its mean over heads [B, Tq, Tk]
  auto tensors() const { return std::array{&q, &k, &v, &y}; }
};

// With ds_ij = p_ij (grad_y_i . v_j - grad_y_i . y_i):
//   grad_q_i = scale sum_j ds_ij k_j,  grad_k_j = scale sum_i ds_ij q_i,  grad_v_j = sum_i p_ij grad_y_i
struct AttentionBackward {
  static constexpr const char* kOperation = "attention";
  static constexpr const char* kDirection = "backward";
  int64_t heads;
  double scale;
  core::View q, k, v, key_mask, pair_mask;  // as in forward
  core::View y, log_sum_exp;                // what forward wrote
  core::View grad_y;                        // [B, Tq, C]
  core::View grad_q, grad_k, grad_v;        // overwritten; an undefined one is not wanted
  auto tensors() const { return std::array{&q, &k, &v, &y, &grad_y, &grad_q, &grad_k, &grad_v}; }
};

// Whether query i of sample b sees key j, for code that need not be fast.
template <class Args>
bool attention_sees(const Args& a, int64_t b, int64_t i, int64_t j) {
  if (a.key_mask.defined() &&
      !a.key_mask.template as<bool>()[b * a.key_mask.stride(0) + j * a.key_mask.stride(1)]) {
    return false;
  }
  if (!a.pair_mask.defined()) return true;
  const int64_t sample = a.pair_mask.rank() == 3 ? b * a.pair_mask.stride(0) : 0;
  return a.pair_mask.template as<bool>()[sample + i * a.pair_mask.stride(-2) + j * a.pair_mask.stride(-1)];
}

}  // namespace medfusion::kernels
