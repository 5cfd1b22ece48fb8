// bf16 on tensor cores, compute capability 8.0 and later: the kernels of attention_mma.cuh.
#include "kernels/attention/attention_mma.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

struct Bf16;  // a type of this file, so that its kernels are the file's own
template <int kWidth, int kWarpRows>
using Bf16Tiles = Tiles<kWidth, kWarpRows, kWidth <= 64 ? 64 : 32, Bf16>;

struct Bf16 : Bf16Types {
  // Calls body with the tiles that hold heads of `width` channels.
  template <int kWarpRows, class Body>
  static void with_tiles(int64_t width, const Body& body) {
    if (width <= 16) return body(Bf16Tiles<16, kWarpRows>{});
    if (width <= 32) return body(Bf16Tiles<32, kWarpRows>{});
    if (width <= 64) return body(Bf16Tiles<64, kWarpRows>{});
    body(Bf16Tiles<128, 16>{});  // sums of 32 rows of 128 channels would spill
  }
  template <class Body>
  static void with_backward_tiles(int64_t width, const Body& body) {
    with_tiles<16>(width, body);
  }
};

const Register<AttentionForward> forward("mma", kDevice, 20, tiles_take<AttentionForward>(takes::bf16, 128),
                                         run_forward<Bf16>);
const Register<AttentionBackward> backward("mma", kDevice, 20,
                                           tiles_take<AttentionBackward>(takes::bf16, 128),
                                           run_backward<Bf16>);

}  // namespace

inline namespace MEDFUSION_GPU {

void run_bf16_probabilities(const AttentionForward& a) { run_probabilities<Bf16>(a); }

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::attention
