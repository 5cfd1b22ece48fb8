#include "layers/functional/dense_block.h"

#include <gtest/gtest.h>

#include "core/allocator.h"
#include "core/threads.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

const char* const kParameters[] = {"norm1.weight", "norm1.bias", "conv1.weight",
                                   "norm2.weight", "norm2.bias", "conv2.weight"};
const char* const kRunning[] = {"norm1.running_mean", "norm1.running_var", "norm2.running_mean",
                                "norm2.running_var"};

// Layer i of a list of inputs [x, six parameters per layer] and of running statistics, four per layer.
DenseLayer layer_of(const std::vector<Variable>& in, const std::vector<Tensor>& running, size_t i) {
  const auto p = [&](size_t j) { return in[1 + 6 * i + j]; };
  const auto r = [&](size_t j) { return running[4 * i + j]; };
  return {p(0), p(1), r(0), r(1), p(2), p(3), p(4), r(2), r(3), p(5)};
}

std::vector<DenseLayer> layers_of(const std::vector<Variable>& in, const std::vector<Tensor>& running) {
  std::vector<DenseLayer> layers;
  for (size_t i = 0; i < running.size() / 4; ++i) layers.push_back(layer_of(in, running, i));
  return layers;
}

TEST(DenseBlockFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_dense_block");
  for (const std::string& name : fixture.cases("dense_block")) {
    FixtureCase c(fixture, "dense_block", name);
    EXPECT_FLOAT_EQ(static_cast<float>(c.scalar("eps")), 1e-5F);
    EXPECT_FLOAT_EQ(static_cast<float>(c.scalar("momentum")), 0.1F);
    const int64_t count = c.integer("layers");
    std::vector<std::string> inputs{"x"};
    std::vector<std::string> statistics;
    for (int64_t i = 1; i <= count; ++i) {
      const std::string prefix = "denselayer" + std::to_string(i) + ".";
      for (const char* p : kParameters) inputs.push_back(prefix + p);
      for (const char* r : kRunning) statistics.push_back(prefix + r);
    }
    EXPECT_EQ(c.get(inputs.back()).size(0), c.integer("growth"));
    c.expect_parity(
        inputs,
        [&](const auto& in) {
          std::vector<Tensor> running;
          for (const std::string& s : statistics) running.push_back(c.get(s).to(in[0].dtype()).clone());
          const Variable y = dense_block(in[0], layers_of(in, running), true);
          for (size_t i = 0; i < statistics.size(); ++i) {
            std::string updated = statistics[i];
            updated.insert(updated.find("running"), "new_");
            expect_close(running[i], c.get(updated).to(running[i].dtype()), 2e-6, updated);
          }
          return y;
        },
        "y", 5e-5);  // three layers of norms one after another
  }
}

struct Block {
  std::vector<Tensor> inputs;  // x and parameters, f64
  std::vector<Tensor> running;
};

Block make_block(int64_t batch, int64_t size, int64_t channels, int64_t growth, int64_t count) {
  Block block;
  uint64_t stream = 100;
  const auto random = [&](const core::Shape& shape, double scale, double shift) {
    const Tensor t = random_tensor(shape, stream++);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = shift + scale * t.data<double>()[i];
    return t;
  };
  block.inputs.push_back(random({batch, size, size, channels}, 1.0, 0.3));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t middle = 4 * growth;
    block.inputs.push_back(random({channels}, 0.2, 1.0));
    block.inputs.push_back(random({channels}, 0.3, 0.1));
    block.inputs.push_back(random({middle, channels, 1, 1}, 0.3, 0.0));
    block.inputs.push_back(random({middle}, 0.2, 1.0));
    block.inputs.push_back(random({middle}, 0.3, 0.1));
    block.inputs.push_back(random({growth, middle, 3, 3}, 0.2, 0.0));
    for (const int64_t width : {channels, middle}) {
      block.running.push_back(random({width}, 0.1, 0.0));
      block.running.push_back(random({width}, 0.05, 1.0));
    }
    channels += growth;
  }
  return block;
}

using Function = Variable (*)(const Variable&, const std::vector<DenseLayer>&, bool);
Variable without_tf32(const Variable& x, const std::vector<DenseLayer>& layers, bool training) {
  return dense_block(x, layers, training);
}

// y, the gradients of x and all parameters, and the running statistics.
std::vector<Tensor> run(Function function, const Block& block, DType dtype, bool training) {
  std::vector<Variable> in;
  std::vector<Tensor> running;
  for (const Tensor& t : block.inputs) in.emplace_back(t.to(dtype).clone(), true);
  for (const Tensor& t : block.running) running.push_back(t.to(dtype).clone());
  const Variable y = function(in[0], layers_of(in, running), training);
  y.backward(random_tensor(y.shape(), 7).to(dtype));
  std::vector<Tensor> results{y.value()};
  for (const Variable& v : in) results.push_back(v.gradient());
  results.insert(results.end(), running.begin(), running.end());
  return results;
}

// The whole block against concat, batch_norm, relu and convolution, in f64 to rounding and in f32.
TEST(DenseBlockFunctional, EqualsTheComposedBlock) {
  const Block block = make_block(2, 6, 9, 5, 3);
  for (const bool training : {true, false}) {
    const auto expected = run(dense_block_composed, block, DType::f64, training);
    const auto whole = run(without_tf32, block, DType::f64, training);
    const auto single = run(without_tf32, block, DType::f32, training);
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::string what = "result " + std::to_string(i) + (training ? " in training" : " in evaluation");
      expect_close(whole[i], expected[i], 1e-9, what);
      expect_close(single[i].to(DType::f64), expected[i], 5e-5, what + " in f32");
    }
  }
}

TEST(DenseBlockFunctional, GradientsAgreeWithDifferences) {
  const Block block = make_block(2, 3, 3, 2, 2);
  for (const bool training : {true, false}) {
    const auto function = [&](const std::vector<Variable>& in) {
      std::vector<Tensor> running;
      for (const Tensor& t : block.running) running.push_back(t.clone());
      return dense_block(in[0], layers_of(in, running), training);
    };
    EXPECT_TRUE(gradients_agree(function, block.inputs)) << (training ? "training" : "evaluation");
  }
}

TEST(DenseBlockFunctional, SameBytesOnAnyNumberOfThreads) {
  const int before = core::num_threads();
  const Block block = make_block(3, 20, 33, 8, 2);
  core::set_num_threads(1);
  const auto one = run(without_tf32, block, DType::f32, true);
  core::set_num_threads(3);
  const auto three = run(without_tf32, block, DType::f32, true);
  core::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) expect_close(three[i], one[i], 0.0, "three threads");
}

// Without a backward to come the bottlenecks share one scratch tensor.
TEST(DenseBlockFunctional, KeepsOnlyTheBufferWithoutGradients) {
  const Block block = make_block(2, 16, 8, 4, 6);
  std::vector<Variable> in;
  std::vector<Tensor> running;
  for (const Tensor& t : block.inputs) in.emplace_back(t.to(DType::f32), true);
  for (const Tensor& t : block.running) running.push_back(t.to(DType::f32));
  const auto layers = layers_of(in, running);
  const int64_t before = core::allocator().counters().live;
  const Variable recorded = dense_block(in[0], layers, false);
  const int64_t with_gradients = core::allocator().counters().live - before;
  const core::NoGradGuard guard;
  const int64_t start = core::allocator().counters().live;
  const Variable y = dense_block(in[0], layers, false);
  const int64_t without = core::allocator().counters().live - start;
  EXPECT_LT(without, 2 * y.value().bytes());
  EXPECT_GT(with_gradients, without + 6 * 2 * 16 * 16 * 16 * 4 - 1);  // six z of 16 channels
  expect_close(y.value(), recorded.value(), 0.0, "without gradients");
}

TEST(DenseBlockFunctional, RefusesShapesThatDoNotFit) {
  const Block block = make_block(2, 3, 3, 2, 2);
  std::vector<Variable> in;
  for (const Tensor& t : block.inputs) in.emplace_back(t);
  auto layers = layers_of(in, block.running);
  std::swap(layers[0], layers[1]);
  EXPECT_THROW(dense_block(in[0], layers, true), core::Error);
  layers = layers_of(in, block.running);
  layers[1].norm2_mean = block.running[0];
  EXPECT_THROW(dense_block(in[0], layers, true), core::Error);
  const Variable one_pixel(Tensor::zeros({1, 1, 1, 3}, DType::f64));
  EXPECT_THROW(dense_block(one_pixel, layers_of(in, block.running), true), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
