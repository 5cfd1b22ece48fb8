// f32 on tensor cores, compute capability 8.0 and later: the kernels of attention_mma.cuh, their products in
// three of TF32 (kernels/gpu/split_tile.cuh).
#include "kernels/attention/attention_mma.cuh"
#include "kernels/gpu/split_tile.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

struct SplitTypes {
  using Element = float;
  template <int kRows, int kDepth>
  using Left = Accumulators<kRows, kDepth>;
  template <int kRows, int kColumns>
  using Result = PieceSums<kRows, kColumns>;
};

// Fewer columns go by at a time than of bf16: they are twice as large, and both parts of a factor take
// registers.
template <int kWidth, int kWarpRows>
using SplitTiles = Tiles<kWidth, kWarpRows, kWidth <= 64 ? 32 : 16, SplitTypes>;

struct Split : SplitTypes {
  static constexpr core::DType kType = core::DType::f32;

  template <int kWarpRows, class Body>
  static void with_tiles(int64_t width, const Body& body) {
    if (width <= 32) return body(SplitTiles<32, kWarpRows>{});
    if (width <= 64) return body(SplitTiles<64, kWarpRows>{});
    body(SplitTiles<128, 16>{});
  }
  static constexpr int64_t kBackwardWidth = 64;  // two sums of 128 channels and what makes them would spill
  template <class Body>
  static void with_backward_tiles(int64_t width, const Body& body) {
    if (width <= 32) return body(SplitTiles<32, 16>{});
    body(SplitTiles<64, 16>{});
  }
};

const Register<AttentionForward> forward(
    {"tf32x3", kDevice, 15, supports_tiles<Split>, run_forward<Split>},
    "f32, adjacent channels, heads of up to 128 channels; compute capability 8.0");
const Register<AttentionBackward> backward(
    {"tf32x3", kDevice, 15, supports_tiles<Split>, run_backward<Split>},
    "f32, adjacent channels, heads of up to 64 channels; compute capability 8.0");

}  // namespace
}  // namespace medfusion::kernels
