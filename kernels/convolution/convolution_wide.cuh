// Convolutions in bf16 by way of those in f32, on copies of their operands: rounded once, at the end.
#pragma once

#include "core/tensor.h"
#include "kernels/convolution/convolution.h"
#include "kernels/elementwise/tensor_ops_simt.h"

namespace medfusion::kernels::convolution {
inline namespace MEDFUSION_GPU {

// An operand in f32: the view itself, or a copy of one in bf16.
class Widened {
 public:
  // A copy of what `from` holds.
  explicit Widened(const core::View& from) : Widened(from, true) {}
  // Room for what round() writes back.
  static Widened room_for(const core::View& to) { return Widened(to, false); }
  // Its shape, where nobody reads it.
  static core::View shape_of(core::View v) {
    v.dtype = core::DType::f32;
    return v;
  }

  const core::View& view() const { return copy_.defined() ? copy_.view() : original_; }
  void round() const {
    if (copy_.defined()) cuda::convert_view(copy_.view(), original_);
  }

 private:
  Widened(const core::View& v, bool fill) : original_(v) {
    if (v.dtype != core::DType::bf16) return;
    copy_ = core::Tensor::empty(v.shape, core::DType::f32, v.device);
    if (fill) cuda::convert_view(v, copy_.view());
  }

  core::View original_;
  core::Tensor copy_;
};

// run(c) of arguments in f32.
template <class Run>
void forward_in_f32(const ConvolutionForward& c, const Run& run) {
  const Widened x(c.x), weight(c.weight), y = Widened::room_for(c.y);
  ConvolutionForward wide = c;
  wide.x = x.view();
  wide.weight = weight.view();
  wide.y = y.view();
  run(wide);
  y.round();
}
template <class Run>
void backward_in_f32(const ConvolutionBackward& c, const Run& run) {
  const Widened grad_y(c.grad_y), grad_x = c.accumulate_x ? Widened(c.grad_x) : Widened::room_for(c.grad_x);
  const Widened x(c.grad_weight.defined() ? c.x : core::View{}),
      weight(c.grad_x.defined() ? c.weight : Widened::shape_of(c.weight));
  ConvolutionBackward wide = c;
  wide.x = x.view();
  wide.weight = weight.view();
  wide.grad_y = grad_y.view();
  wide.grad_x = grad_x.view();
  run(wide);
  grad_x.round();
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::convolution
