#include "kernels/dense_block/dense_block_textbook.h"

namespace medfusion::kernels {
namespace {

void run_forward(const DenseBlockForward& b) { dense_block::Textbook<float>(b.training, b.eps).forward(b); }

void run_backward(const DenseBlockBackward& b) {
  dense_block::Textbook<float>(b.training, b.eps).backward(b);
}

const Register<DenseBlockForward> forward("composed", kCpu, 1, {takes::f32, takes::any_strides}, run_forward);
const Register<DenseBlockBackward> backward("composed", kCpu, 1, {takes::f32, takes::any_strides},
                                            run_backward);

}  // namespace
}  // namespace medfusion::kernels
