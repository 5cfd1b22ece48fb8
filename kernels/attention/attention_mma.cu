// bf16 on tensor cores, compute capability 8.0 and later: the kernels of attention_mma.cuh.
#include "kernels/attention/attention_mma.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

const Register<AttentionForward> forward(
    {"mma", kDevice, 20, supports_tiles<Bf16>, run_forward<Bf16>},
    "bf16, adjacent channels, heads of up to 128 channels; compute capability 8.0");
const Register<AttentionBackward> backward(
    {"mma", kDevice, 20, supports_tiles<Bf16>, run_backward<Bf16>},
    "bf16, adjacent channels, heads of up to 128 channels; compute capability 8.0");

}  // namespace
}  // namespace medfusion::kernels
