// f32 on tensor cores, compute capability 8.0 and later: the kernels of attention_mma.cuh, their products in
// three of TF32 (kernels/gpu/split_tile.cuh).
#include "kernels/attention/attention_mma.cuh"
#include "kernels/gpu/split_tile.cuh"

namespace medfusion::kernels::cuda::attention {
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

struct Tf32x3 : SplitTypes {
  template <int kWarpRows, class Body>
  static void with_tiles(int64_t width, const Body& body) {
    if (width <= 32) return body(SplitTiles<32, kWarpRows>{});
    if (width <= 64) return body(SplitTiles<64, kWarpRows>{});
    body(SplitTiles<128, 16>{});
  }
  template <class Body>
  static void with_backward_tiles(int64_t width, const Body& body) {
    if (width <= 32) return body(SplitTiles<32, 16>{});
    body(SplitTiles<64, 16>{});
  }
};

constexpr int64_t kBackwardWidth = 64;  // two sums of 128 channels and what makes them would spill
const Register<AttentionForward> forward("tf32x3", kDevice, 15, tiles_take<AttentionForward>(takes::f32, 128),
                                         run_forward<Tf32x3>);
const Register<AttentionBackward> backward("tf32x3", kDevice, 15,
                                           tiles_take<AttentionBackward>(takes::f32, kBackwardWidth),
                                           run_backward<Tf32x3>);

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
