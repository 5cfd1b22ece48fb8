// cuDNN on `cuda`, the CPU kernel in its place on `sim`. Images that are slices of wider ones go through
// contiguous copies, weights through copies with their channels last (none is needed for 1x1). In bf16 on
// `sim`, and where cuDNN has nothing for it, all go through copies in f32; where it has nothing in f32,
// `simt` does the work.
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/convolution_wide.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/library_call.cuh"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#if defined(__CUDACC__) && __has_include(<cudnn.h>)
#include "kernels/convolution/convolution_cudnn.cuh"
#endif

#if !defined(__CUDACC__) || \
    __has_include(<cudnn.h>)  // built without it, convolution_simt.cu is what there is
namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::Tensor;
using core::View;

struct Geometry {
  int64_t stride, padding;
  bool tf32;
};

#ifdef __CUDACC__

// [out, in, rows, columns] seen as [out, rows, columns, in].
View channels_last(const View& weight) {
  View v = weight;
  v.shape = {weight.size(0), weight.size(2), weight.size(3), weight.size(1)};
  v.strides = {weight.stride(0), weight.stride(2), weight.stride(3), weight.stride(1)};
  return v;
}

void convolve(const View& x, const View& weight, const View& y, const Geometry& g) {
  const Packed filter(channels_last(weight));
  convolution::run_cudnn({convolution::Direction::forward, x, filter.view(), y, g.stride, g.padding, g.tf32},
                         false);
}
void convolve_back_x(const View& grad_y, const View& weight, const View& grad_x, const Geometry& g,
                     bool accumulate) {
  const Packed filter(channels_last(weight));
  convolution::run_cudnn(
      {convolution::Direction::data, grad_x, filter.view(), grad_y, g.stride, g.padding, g.tf32}, accumulate);
}
void convolve_back_weight(const View& x, const View& grad_y, const View& grad_weight, const Geometry& g) {
  const View target = channels_last(grad_weight);
  if (x.dtype == core::DType::bf16) {  // cuDNN writes the dtype that it reads
    const Tensor rounded = Tensor::empty(target.shape, x.dtype, x.device);
    convolution::run_cudnn(
        {convolution::Direction::filter, x, rounded.view(), grad_y, g.stride, g.padding, g.tf32}, false);
    convert_view(rounded.view(), target);
    return;
  }
  const Packed filter = Packed::room_for(target);
  convolution::run_cudnn(
      {convolution::Direction::filter, x, filter.view(), grad_y, g.stride, g.padding, g.tf32}, false);
  filter.unpack();
}

// Whether cuDNN has a deterministic algorithm for the problem in the dtype of its images.
bool solvable(convolution::Direction direction, const View& x, const View& weight, const View& y,
              const Geometry& g) {
  return x.numel() == 0 || y.numel() == 0 || weight.numel() == 0 ||
         convolution::cudnn_solves({direction, x, channels_last(weight), y, g.stride, g.padding, g.tf32});
}
bool solvable(const ConvolutionForward& c) {
  return solvable(convolution::Direction::forward, c.x, c.weight, c.y, {c.stride, c.padding, c.tf32});
}
bool solvable(const ConvolutionBackward& c) {
  const Geometry g{c.stride, c.padding, c.tf32};
  return (!c.grad_x.defined() || solvable(convolution::Direction::data, c.grad_x, c.weight, c.grad_y, g)) &&
         (!c.grad_weight.defined() || solvable(convolution::Direction::filter, c.x, c.weight, c.grad_y, g));
}

#else

// The CPU kernels have no bf16.
bool solvable(const ConvolutionForward& c) { return c.y.dtype == core::DType::f32; }
bool solvable(const ConvolutionBackward& c) { return c.grad_y.dtype == core::DType::f32; }

void convolve(const View& x, const View& weight, const View& y, const Geometry& g) {
  library_call("convolution", y.device, {&x, &weight}, {&y}, [=](void* /*native*/) {
    dispatch(ConvolutionForward{.x = on_host(x),
                                .weight = on_host(weight),
                                .y = on_host(y),
                                .stride = g.stride,
                                .padding = g.padding},
             core::DeviceType::cpu);
  });
}
void convolve_back_x(const View& grad_y, const View& weight, const View& grad_x, const Geometry& g,
                     bool accumulate) {
  library_call("convolution_backward_x", grad_y.device, {&grad_y, &weight}, {&grad_x}, [=](void* /*native*/) {
    dispatch(ConvolutionBackward{.x = {},
                                 .weight = on_host(weight),
                                 .grad_y = on_host(grad_y),
                                 .grad_x = on_host(grad_x),
                                 .stride = g.stride,
                                 .padding = g.padding,
                                 .accumulate_x = accumulate},
             core::DeviceType::cpu);
  });
}
void convolve_back_weight(const View& x, const View& grad_y, const View& grad_weight, const Geometry& g) {
  library_call("convolution_backward_weight", grad_y.device, {&x, &grad_y}, {&grad_weight},
               [=](void* /*native*/) {
                 dispatch(ConvolutionBackward{.x = on_host(x),
                                              .weight = on_host(grad_weight),  // its shape
                                              .grad_y = on_host(grad_y),
                                              .grad_weight = on_host(grad_weight),
                                              .stride = g.stride,
                                              .padding = g.padding},
                          core::DeviceType::cpu);
               });
}

#endif

// Whether cuDNN can be loaded.
bool available() {
#ifdef __CUDACC__
  static const bool loaded = [] {
    try {
      return cudnnGetErrorString(CUDNN_STATUS_SUCCESS) != nullptr;
    } catch (const core::Error&) {
      return false;
    }
  }();
  return loaded;
#else
  return true;
#endif
}

void run_forward(const ConvolutionForward& c) {
  if (c.y.dtype == core::DType::bf16 && !solvable(c)) {
    return convolution::forward_in_f32(c, [](const ConvolutionForward& wide) { dispatch(wide, kDevice); });
  }
  if (c.y.numel() == 0) return;
  if (c.weight.numel() == 0) {
    set_bias(c.y, c.bias, false);
    return;
  }
  const Packed x(c.x);
  const Packed y = Packed::room_for(c.y);
  convolve(x.view(), c.weight, y.view(), {c.stride, c.padding, c.tf32});
  y.unpack();
  set_bias(c.y, c.bias, true);
}

void run_backward(const ConvolutionBackward& c) {
  if (c.grad_y.dtype == core::DType::bf16 && !solvable(c)) {
    return convolution::backward_in_f32(c, [](const ConvolutionBackward& wide) { dispatch(wide, kDevice); });
  }
  const Geometry geometry{c.stride, c.padding, c.tf32};
  const bool nothing = c.grad_y.numel() == 0 || c.weight.shape.numel() == 0;
  if (nothing) {
    if (c.grad_weight.defined()) set_bias(flat(c.grad_weight), {}, false);
    if (c.grad_x.defined() && !c.accumulate_x) set_bias(c.grad_x, {}, false);
  } else {
    const Packed grad_y(c.grad_y);
    if (c.grad_weight.defined()) {
      const Packed x(c.x);
      convolve_back_weight(x.view(), grad_y.view(), c.grad_weight, geometry);
    }
    if (c.grad_x.defined()) {
      const Packed grad_x = c.accumulate_x ? Packed(c.grad_x) : Packed::room_for(c.grad_x);
      convolve_back_x(grad_y.view(), c.weight, grad_x.view(), geometry, c.accumulate_x);
      grad_x.unpack();
    }
  }
  if (c.grad_bias.defined()) {
    dispatch<ReduceForward>({Reduction::sum, c.grad_y, flat(c.grad_bias), {}}, kDevice);
  }
}

constexpr TensorRequirement kSizes{"fewer than 2^31 elements", [](Tensors tensors) {
                                     return takes::each(
                                         tensors, [](const View& x) { return x.numel() < int64_t{1} << 31; });
                                   }};
constexpr const char* kLibrary =
    "where cuDNN can be loaded and has something deterministic (otherwise bf16 goes through f32)";
template <class Args>
bool runs(const Args& c) {
  return available() && (takes::bf16.holds(c.tensors()) || solvable(c));
}

const Register<ConvolutionForward> forward(
    "cudnn", kDevice, 10,
    {takes::f32_or_bf16, takes::adjacent_channels, kSizes, {kLibrary, runs<ConvolutionForward>}},
    run_forward);
const Register<ConvolutionBackward> backward(
    "cudnn", kDevice, 10,
    {takes::f32_or_bf16, takes::adjacent_channels, kSizes, {kLibrary, runs<ConvolutionBackward>}},
    run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif
