#include "kernels/dense_block/dense_block_textbook.h"

namespace medfusion::kernels {
namespace {

bool supports_forward(const DenseBlockForward& b) { return b.buffer.dtype == core::DType::f32; }
void run_forward(const DenseBlockForward& b) { dense_block::Textbook<float>(b.training, b.eps).forward(b); }

bool supports_backward(const DenseBlockBackward& b) { return b.buffer.dtype == core::DType::f32; }
void run_backward(const DenseBlockBackward& b) {
  dense_block::Textbook<float>(b.training, b.eps).backward(b);
}

const Register<DenseBlockForward> forward({"composed", core::DeviceType::cpu, 1, supports_forward,
                                           run_forward},
                                          "f32, any strides");
const Register<DenseBlockBackward> backward({"composed", core::DeviceType::cpu, 1, supports_backward,
                                             run_backward},
                                            "f32, any strides");

}  // namespace
}  // namespace medfusion::kernels
