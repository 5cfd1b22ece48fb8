// Element-wise maps; gradients of broadcast operands go through the reduction.
#include "core/tensor.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/map.cuh"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Subtract {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Divide {
  __device__ float operator()(float a, float b) const { return a / b; }
};
struct Affine {
  float scale, shift;
  __device__ float operator()(float x) const { return scale * x + shift; }
};
struct DivisorGradient {
  __device__ float operator()(float g, float a, float b) const { return -(g * a) / (b * b); }
};

void run_forward(const BinaryForward& a) {
  const auto run = [&](const auto& f) { map<float, float, float>("binary_forward", f, a.y, {&a.a, &a.b}); };
  switch (a.function) {
    case Binary::add:
      return run(Add());
    case Binary::sub:
      return run(Subtract());
    case Binary::mul:
      return run(Multiply());
    case Binary::div:
      return run(Divide());
  }
}

void sum_to(const core::View& terms, const core::View& grad) {
  dispatch<ReduceForward>({Reduction::sum, terms, grad, {}}, terms.device.type);
}

// grad = the sum over the broadcast dimensions of the terms that compute(to) writes, which have `shape`.
template <class Compute>
void reduce_to(const core::View& grad, const core::Shape& shape, const Compute& compute) {
  if (grad.shape == shape) {
    compute(grad);
    return;
  }
  const core::Tensor terms = core::Tensor::empty(shape, core::DType::f32, grad.device);
  compute(terms.view());
  sum_to(terms.view(), grad);
}

void run_backward(const BinaryBackward& a) {
  const core::View& g = a.grad_y;
  const auto times = [&](const core::View& other) {
    return [&](const core::View& to) {
      map<float, float, float>("binary_backward", Multiply(), to, {&g, &other});
    };
  };
  if (a.grad_a.defined()) {
    if (a.function == Binary::mul) {
      reduce_to(a.grad_a, g.shape, times(a.b));
    } else if (a.function == Binary::div) {
      reduce_to(a.grad_a, g.shape, [&](const core::View& to) {
        map<float, float, float>("binary_backward", Divide(), to, {&g, &a.b});
      });
    } else {
      sum_to(g, a.grad_a);
    }
  }
  if (!a.grad_b.defined()) return;
  switch (a.function) {
    case Binary::add:
      return sum_to(g, a.grad_b);
    case Binary::sub: {
      const bool broadcast = a.grad_b.shape != g.shape;
      if (broadcast) sum_to(g, a.grad_b);
      return map<float, float>("binary_backward", Affine{-1.0F, 0.0F}, a.grad_b,
                               {broadcast ? &a.grad_b : &g});
    }
    case Binary::mul:
      return reduce_to(a.grad_b, g.shape, times(a.a));
    case Binary::div:
      return reduce_to(a.grad_b, g.shape, [&](const core::View& to) {
        map<float, float, float, float>("binary_backward", DivisorGradient(), to, {&g, &a.a, &a.b});
      });
  }
}

void run_affine(const AffineForward& a) {
  map<float, float>("affine", Affine{static_cast<float>(a.scale), static_cast<float>(a.shift)}, a.y, {&a.x});
}

const Register<BinaryForward> forward("simt", kDevice, 10, {takes::f32, takes::any_strides, kBroadcasting},
                                      run_forward);
const Register<BinaryBackward> backward("simt", kDevice, 10, {takes::f32, takes::any_strides, kBroadcasting},
                                        run_backward);
const Register<AffineForward> affine("simt", kDevice, 10, {takes::f32, takes::any_strides}, run_affine);

}  // namespace
}  // namespace medfusion::kernels
