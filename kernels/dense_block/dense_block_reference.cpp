#include "kernels/dense_block/dense_block_textbook.h"

namespace medfusion::kernels {
namespace {

bool supports_forward(const DenseBlockForward& b) { return b.buffer.dtype == core::DType::f64; }
void run_forward(const DenseBlockForward& b) { dense_block::Textbook<double>(b.training, b.eps).forward(b); }

bool supports_backward(const DenseBlockBackward& b) { return b.buffer.dtype == core::DType::f64; }
void run_backward(const DenseBlockBackward& b) {
  dense_block::Textbook<double>(b.training, b.eps).backward(b);
}

const Register<DenseBlockForward> forward({"reference", core::DeviceType::cpu, 0, supports_forward,
                                           run_forward});
const Register<DenseBlockBackward> backward({"reference", core::DeviceType::cpu, 0, supports_backward,
                                             run_backward});

}  // namespace
}  // namespace medfusion::kernels
