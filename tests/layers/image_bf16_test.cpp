// The functions of the image branch in bf16 on the simulated device, against themselves in double on the same
// rounded numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "kernels/dense_block/dense_block.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "layers/convolution.h"
#include "layers/functional/activation.h"
#include "layers/functional/batch_norm.h"
#include "layers/functional/convolution.h"
#include "layers/functional/dense_block.h"
#include "layers/functional/matmul.h"
#include "layers/functional/pooling.h"
#include "layers/functional/upsample_add.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;
using core::Variable;

constexpr core::Device kSim{simulator::kDeviceType, 0};
// Eight roundings of 2^-9 in a row, as for the kernels (kernels/workshop/check.cpp).
constexpr double kRounding = 8.0 / 512.0;

struct Input {
  Shape shape;
  bool image = true;  // bf16; a parameter in f32 otherwise
};
using Function = std::function<Variable(const std::vector<Variable>&)>;

Tensor on_host(const Tensor& t) { return t.to(core::Device{}).to(DType::f64); }

// The result in `dtype`, its value and the gradients of all inputs; those of parameters are f32.
void expect_bf16_parity(const std::vector<Input>& inputs, DType dtype, const Function& f,
                        double tolerance = kRounding) {
  std::vector<Variable> exact, leaves, narrow;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor value = random_tensor(inputs[i].shape, 1 + i).to(DType::bf16).to(DType::f64);
    exact.emplace_back(value, true);
    leaves.emplace_back(value.to(DType::f32).to(kSim), true);
    narrow.push_back(inputs[i].image ? cast(leaves.back(), DType::bf16) : leaves.back());
  }
  const Variable expected = f(exact), actual = f(narrow);
  ASSERT_EQ(actual.dtype(), dtype);
  expect_close(on_host(actual.value()), expected.value(), tolerance, "result");
  const Tensor upstream = random_tensor(expected.shape(), 99).to(DType::bf16).to(DType::f64);
  expected.backward(upstream);
  actual.backward(upstream.to(dtype).to(kSim));
  for (size_t i = 0; i < inputs.size(); ++i) {
    expect_close(on_host(leaves[i].gradient()), exact[i].gradient(), tolerance, fmt::format("input {}", i));
  }
}

TEST(ImageBf16, Convolution) {
  expect_bf16_parity({{{2, 6, 5, 8}}, {{16, 8, 3, 3}, false}, {{16}, false}}, DType::bf16,
                     [](const auto& in) { return convolution(in[0], in[1], in[2], 2, 1); });
}

TEST(ImageBf16, BatchNormKeepsItsStatisticsInF32) {
  for (const bool training : {true, false}) {
    expect_bf16_parity({{{3, 4, 5, 8}}, {{8}, false}, {{8}, false}}, DType::bf16, [=](const auto& in) {
      const DType dtype = in[1].dtype();
      const core::Device device = in[1].value().device();
      const Tensor mean = Tensor::full({8}, 0.25, dtype, device), var = Tensor::full({8}, 2.0, dtype, device);
      return batch_norm(in[0], in[1], in[2], mean, var, training, 0.1, 1e-5, true);
    });
  }
}

TEST(ImageBf16, PoolingAndWhatIsGlobalInF32) {
  const PoolOptions window{.kernel = 3, .stride = 2, .padding = 1};
  const std::vector<Input> image{{{2, 6, 5, 8}}};
  expect_bf16_parity(image, DType::bf16, [=](const auto& in) { return max_pool(in[0], window); });
  expect_bf16_parity(image, DType::bf16, [=](const auto& in) { return average_pool(in[0], window); });
  expect_bf16_parity(image, DType::f32, [](const auto& in) { return global_max_pool(in[0]); });
  expect_bf16_parity(image, DType::f32, [](const auto& in) { return global_average_pool(in[0]); });
}

TEST(ImageBf16, UpsampleAddAndRelu) {
  expect_bf16_parity({{{2, 3, 2, 8}}, {{2, 6, 4, 8}}, {{8}, false}}, DType::bf16, [](const auto& in) {
    return relu(upsample_add(in[0], in[1], {.bilinear = true}, in[2]));
  });
}

TEST(ImageBf16, AnImageThatIsReadTwiceSumsItsGradients) {
  expect_bf16_parity({{{2, 4, 4, 8}}}, DType::bf16, [](const auto& in) {
    const Variable x = relu(in[0]);
    return upsample_add(max_pool(x, {}), x);
  });
}

DenseLayer dense_layer(const std::vector<Variable>& in, size_t first, int64_t channels, int64_t middle) {
  const DType dtype = in[first].dtype();
  const core::Device device = in[first].value().device();
  const auto filled = [&](int64_t n, double value) { return Tensor::full({n}, value, dtype, device); };
  return {in[first],     in[first + 1], filled(channels, 0.0), filled(channels, 1.0), in[first + 2],
          in[first + 3], in[first + 4], filled(middle, 0.0),   filled(middle, 1.0),   in[first + 5]};
}

// Batch norm divides by deviations, so that a rounding of one value moves others: the block is held to as
// many roundings more as it has norms and convolutions in a row.
TEST(ImageBf16, DenseBlock) {
  const int64_t c = 8, m = 16, k = 8;
  std::vector<Input> inputs{{{2, 5, 4, c}}};
  for (const int64_t channels : {c, c + k}) {
    for (const Shape& shape : {Shape{channels}, Shape{channels}, Shape{m, channels, 1, 1}, Shape{m}, Shape{m},
                               Shape{k, m, 3, 3}}) {
      inputs.push_back({shape, false});
    }
  }
  for (const bool training : {true, false}) {
    expect_bf16_parity(
        inputs, DType::bf16,
        [=](const auto& in) {
          return dense_block(in[0], {dense_layer(in, 1, c, m), dense_layer(in, 7, c + k, m)}, training);
        },
        4 * kRounding);
  }
}

// Stands for kernels of a dense block in bf16; does nothing but look at what it gets.
bool has_narrow_block = false;
int narrow_forwards = 0, narrow_backwards = 0;

bool all_of_dtype(std::initializer_list<core::View> views, DType dtype) {
  return std::all_of(views.begin(), views.end(), [=](const core::View& v) { return v.dtype == dtype; });
}
bool fits(const core::View& buffer, const std::vector<kernels::DenseBlockLayer>& layers) {
  return has_narrow_block && buffer.dtype == DType::bf16 &&
         std::all_of(layers.begin(), layers.end(), [](const kernels::DenseBlockLayer& l) {
           return l.z.dtype == DType::bf16 &&
                  all_of_dtype({l.norm1_weight, l.norm1_var, l.conv1, l.norm2_bias, l.norm2_mean, l.conv2,
                                l.z_mean, l.z_inv_std},
                               DType::f32);
         });
}
const kernels::Register<kernels::DenseBlockForward> narrow_forward(
    "narrow", kSim.type, 100,
    {{"bf16",
      [](const kernels::DenseBlockForward& b) {
        return fits(b.buffer, b.layers) && all_of_dtype({b.mean, b.inv_std}, DType::f32);
      }}},
    [](const kernels::DenseBlockForward& /*b*/) { ++narrow_forwards; });
const kernels::Register<kernels::DenseBlockBackward> narrow_backward(
    "narrow", kSim.type, 100,
    {{"bf16",
      [](const kernels::DenseBlockBackward& b) {
        return fits(b.buffer, b.layers) && b.gradient.dtype == DType::bf16 &&
               all_of_dtype({b.gradients[0].conv1, b.gradients[1].norm2_weight}, DType::f32);
      }}},
    [](const kernels::DenseBlockBackward& /*b*/) { ++narrow_backwards; });

TEST(ImageBf16, ADenseBlockOfBf16IsTakenWhereTheDeviceHasOne) {
  const int64_t c = 8, m = 16, k = 8;
  std::vector<Variable> in{cast(Variable(Tensor::zeros({2, 3, 3, c}, DType::f32, kSim), true), DType::bf16)};
  for (const int64_t channels : {c, c + k}) {
    for (const Shape& shape : {Shape{channels}, Shape{channels}, Shape{m, channels, 1, 1}, Shape{m}, Shape{m},
                               Shape{k, m, 3, 3}}) {
      in.emplace_back(Tensor::zeros(shape, DType::f32, kSim), true);
    }
  }
  has_narrow_block = true;
  const Variable y = dense_block(in[0], {dense_layer(in, 1, c, m), dense_layer(in, 7, c + k, m)}, true);
  EXPECT_EQ(y.dtype(), DType::bf16);
  y.backward(Tensor::zeros(y.shape(), DType::bf16, kSim));
  has_narrow_block = false;
  EXPECT_EQ(narrow_forwards, 1);
  EXPECT_EQ(narrow_backwards, 1);
}

TEST(MixedPrecision, ConvolutionsGiveBf16OnADeviceAndLeaveTheCpuAlone) {
  const Context context{.training = true, .precision = Precision::bf16};
  for (const core::Device device : {core::Device{}, kSim}) {
    Convolution convolution(3, 8, {.kernel = 3, .padding = 1, .bias = true}, {DType::f32, device});
    BatchNorm norm(8, {DType::f32, device});
    const Variable x(random_tensor({2, 4, 4, 3}, 1).to(DType::f32).to(device));
    const Variable y = norm.forward(convolution.forward(x, context), context, true);
    EXPECT_EQ(y.dtype(), device == kSim ? DType::bf16 : DType::f32);
    for (const auto& [name, parameter] : convolution.parameters()) EXPECT_EQ(parameter.dtype(), DType::f32);
  }
}

}  // namespace
}  // namespace medfusion::layers
