// bf16 on tensor cores, compute capability 8.0 and later. Four warps take rows of one tile each; tiles of the
// other side come by cp.async, one ahead. Scores stay in registers, where they turn into the left factor of
// the second product. Every result is gathered by one block, in order. (Dao, "FlashAttention-2", 2023)
#include "kernels/attention/attention_mma.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads, 2) attention_forward(Forward<BFloat16> a, Sizes size) {
  SharedMemory memory;
  const auto q_tile = T::Rows::take(memory);
  const auto k_tiles = T::Columns::take(memory, kStages), v_tiles = T::Columns::take(memory, kStages);
  const Place at(size, size.queries, T::kRows);
  const int row = warp_index() * T::kWarpRows;
  copy_tokens(q_tile, a.q, at.b, at.h, at.first, size.queries, size.width);  // arrives with the first keys

  typename T::Result result;
  fill(result, 0.0F);
  OnlineSoftmax<T> softmax;
  pipeline<kStages>(
      ceil_div(size.keys, T::kColumns),
      [&](int64_t n, int stage) {
        copy_tokens(k_tiles[stage], a.k, at.b, at.h, n * T::kColumns, size.keys, size.width);
        copy_tokens(v_tiles[stage], a.v, at.b, at.h, n * T::kColumns, size.keys, size.width);
      },
      [&](int64_t n, int stage) {
        const int64_t key = n * T::kColumns;
        typename T::Scores s;
        fill(s, 0.0F);
        multiply_transposed(s, q_tile, row, k_tiles[stage]);
        hide_keys<T>(s, a.masks, at.b, key, size.keys);
        if (a.masks.pairs != nullptr) {
          hide_pairs(s, [&](int i, int j) {
            return a.masks.pair(at.b, at.first + row + i, size.queries, key + j, size.keys);
          });
        }
        softmax.add(s, size.scale, result);
        typename T::Left p;
        round_to(p, s);
        multiply(result, p, v_tiles[stage]);
      });

  finish_rows(softmax, result, a, at.head, at.first + row, size);
  copy_async_wait<0>();
  write_tokens<T>(a.y, at.b, at.h, at.first, size.queries, size.width, q_tile, result);
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<BFloat16>(a);
  const auto run = [&]<class T>(T) {
    launch({"attention_forward", a.q.device, size.grid(a.q.size(0), size.queries, T::kRows), dim3(kThreads),
            T::bytes(1, 2)},
           attention_forward<T>, arguments, size);
  };
  if (size.queries > 64) {
    with_tiles<32>(size.width, run);
  } else {
    with_tiles<16>(size.width, run);
  }
  run_probabilities(a, arguments, size);
}

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of<BFloat16>(a, size);
  const auto arguments = backward_of<BFloat16>(a, delta);
  with_tiles<16>(size.width, [&]<class T>(T) {
    const auto start = [&](const char* name, auto kernel, int64_t tokens) {
      launch({name, a.q.device, size.grid(a.q.size(0), tokens, T::kRows), dim3(kThreads), T::bytes(2, 2)},
             kernel, arguments, size);
    };
    if (a.grad_q.defined()) start("attention_backward_queries", attention_backward<T, false>, size.queries);
    if (a.grad_k.defined() || a.grad_v.defined())
      start("attention_backward_keys", attention_backward<T, true>, size.keys);
  });
}

const Register<AttentionForward> forward(
    {"mma", kDevice, 20, supports_bf16, run_forward},
    "bf16, adjacent channels, heads of up to 128 channels; compute capability 8.0");
const Register<AttentionBackward> backward(
    {"mma", kDevice, 20, supports_bf16, run_backward},
    "bf16, adjacent channels, heads of up to 128 channels; compute capability 8.0");

}  // namespace
}  // namespace medfusion::kernels
