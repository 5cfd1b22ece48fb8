// Element-wise maps: bound by memory.
#include "kernels/activation/activation.h"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/map.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

struct Relu {
  __device__ float operator()(float x) const { return x < 0.0F ? 0.0F : x; }
};
struct ReluBackward {
  __device__ float operator()(float x, float g) const { return x > 0.0F ? g : g * 0.0F; }
};
struct NarrowRelu {
  __device__ BFloat16 operator()(BFloat16 x) const { return to_bf16(Relu()(to_float(x))); }
};
struct NarrowReluBackward {
  __device__ BFloat16 operator()(BFloat16 x, BFloat16 g) const {
    return to_bf16(ReluBackward()(to_float(x), to_float(g)));
  }
};

__device__ __forceinline__ float normal_probability(float x) { return 0.5F * erfcf(-0.70710678F * x); }
struct Gelu {
  __device__ float operator()(float x) const { return x * normal_probability(x); }
};
struct GeluBackward {
  __device__ float operator()(float x, float g) const {
    const float density = 0.39894228F * expf(-0.5F * x * x);
    return g * (normal_probability(x) + x * density);
  }
};

__device__ __forceinline__ float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }
struct Sigmoid {
  __device__ float operator()(float x) const { return sigmoid(x); }
};
struct SigmoidBackward {
  __device__ float operator()(float x, float g) const {
    const float s = sigmoid(x);
    return g * (s * (1.0F - s));
  }
};

struct Relu6 {
  __device__ float operator()(float x) const { return x < 0.0F ? 0.0F : x > 6.0F ? 6.0F : x; }
};
struct Relu6Backward {
  __device__ float operator()(float x, float g) const { return x > 0.0F && x < 6.0F ? g : g * 0.0F; }
};

// bf16 comes from the image branch, which has no other function.
template <class Args>
bool f32_or_relu_of_bf16(const Args& a) {
  return takes::f32.holds(a.tensors()) || (a.function == Activation::relu && takes::bf16.holds(a.tensors()));
}
constexpr const char* kTypes = "f32 (relu also bf16)";

void run_forward(const ActivationForward& a) {
  if (a.x.dtype == core::DType::bf16) {
    return map<BFloat16, BFloat16>("activation_forward", NarrowRelu(), a.y, {&a.x});
  }
  const auto run = [&](const auto& f) { map<float, float>("activation_forward", f, a.y, {&a.x}); };
  switch (a.function) {
    case Activation::relu:
      return run(Relu());
    case Activation::gelu:
      return run(Gelu());
    case Activation::sigmoid:
      return run(Sigmoid());
    case Activation::relu6:
      return run(Relu6());
  }
}

void run_backward(const ActivationBackward& a) {
  if (a.x.dtype == core::DType::bf16) {
    return map<BFloat16, BFloat16, BFloat16>("activation_backward", NarrowReluBackward(), a.grad_x,
                                             {&a.x, &a.grad_y});
  }
  const auto run = [&](const auto& f) {
    map<float, float, float>("activation_backward", f, a.grad_x, {&a.x, &a.grad_y});
  };
  switch (a.function) {
    case Activation::relu:
      return run(ReluBackward());
    case Activation::gelu:
      return run(GeluBackward());
    case Activation::sigmoid:
      return run(SigmoidBackward());
    case Activation::relu6:
      return run(Relu6Backward());
  }
}

const Register<ActivationForward> forward(
    "simt", kDevice, 10, {{kTypes, f32_or_relu_of_bf16<ActivationForward>}, takes::any_strides}, run_forward);
const Register<ActivationBackward> backward("simt", kDevice, 10,
                                            {{kTypes, f32_or_relu_of_bf16<ActivationBackward>},
                                             takes::any_strides},
                                            run_backward);

}  // namespace
}  // namespace medfusion::kernels
