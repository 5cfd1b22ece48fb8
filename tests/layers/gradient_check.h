// Gradients of a differentiable function by central differences in float64.
//   EXPECT_TRUE(gradients_agree([](const auto& in) { return concat({in[0], in[1]}, -1); }, {a, b}));
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "core/autograd.h"
#include "core/random.h"

namespace medfusion::layers {

using Differentiable = std::function<core::Variable(const std::vector<core::Variable>&)>;

// An f64 tensor of N(0, 1) values that depend on (shape, stream) only.
inline core::Tensor random_tensor(const core::Shape& shape, uint64_t stream) {
  const core::Tensor tensor = core::Tensor::empty(shape, core::DType::f64);
  const core::Philox philox(20, stream);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data<double>()[i] = philox.normal(static_cast<uint64_t>(i));
  return tensor;
}

struct GradientCheckOptions {
  double step = 1e-5;
  double tolerance = 2e-7;  // relative to the largest gradient of the input, at least 1
  int64_t samples = 40;     // elements of each input whose derivative is taken numerically
};

// The gradients of dot(g, function(inputs)) for a fixed random g, for every input. Fails too where a gradient
// is missing, where it is all zero, or where the function gives other values when nothing is recorded.
inline ::testing::AssertionResult gradients_agree(const Differentiable& function,
                                                  const std::vector<core::Tensor>& inputs,
                                                  const GradientCheckOptions& options = {}) {
  using ::testing::AssertionFailure;
  std::vector<core::Variable> leaves;
  std::vector<core::Variable> constants;  // of the same values, in memory that the check may change
  for (const core::Tensor& input : inputs) {
    if (input.dtype() != core::DType::f64) return AssertionFailure() << "the inputs must be f64";
    leaves.emplace_back(input.clone(), true);
    constants.emplace_back(input.clone());
  }
  const core::Variable y = function(leaves);
  const core::Tensor g = random_tensor(y.shape(), 77);
  const auto objective = [&](const core::Variable& value) {
    double sum = 0.0;
    for (int64_t i = 0; i < g.numel(); ++i) sum += g.at(i) * value.value().at(i);
    return sum;
  };
  const double recorded = objective(y);
  y.backward(g);
  if (!(std::abs(objective(function(constants)) - recorded) <= 1e-12 * std::max(1.0, std::abs(recorded)))) {
    return AssertionFailure() << "the value differs when nothing is recorded";
  }
  for (size_t n = 0; n < inputs.size(); ++n) {
    const core::Tensor gradient = leaves[n].gradient();
    double scale = 1.0;
    double largest = 0.0;
    for (int64_t i = 0; i < gradient.numel(); ++i) largest = std::max(largest, std::abs(gradient.at(i)));
    if (gradient.numel() > 0 && !(largest > 0.0)) {
      return AssertionFailure() << "the gradient of input " << n << " is all zero";
    }
    scale = std::max(scale, largest);
    const int64_t stride = std::max<int64_t>(1, gradient.numel() / options.samples);
    for (int64_t i = 0; i < gradient.numel(); i += stride) {
      double& x = core::element<double>(constants[n].value().view(), i);
      const double original = x;
      x = original + options.step;
      const double above = objective(function(constants));
      x = original - options.step;
      const double below = objective(function(constants));
      x = original;
      const double numeric = (above - below) / (2 * options.step);
      if (!(std::abs(numeric - gradient.at(i)) <= options.tolerance * scale)) {
        return AssertionFailure() << "input " << n << " element " << i << ": numeric " << numeric
                                  << ", backward gave " << gradient.at(i);
      }
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace medfusion::layers
