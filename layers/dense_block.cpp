#include "layers/dense_block.h"

#include "layers/functional/concat.h"
#include "layers/functional/convolution.h"
#include "layers/functional/pooling.h"

namespace medfusion::layers {

using core::Variable;

DenseBlock::Layer::Layer(int64_t in, int64_t growth, int64_t middle, const TensorOptions& options)
    : norm1(in, options),
      norm2(middle, options),
      conv1(add_parameter("conv1.weight", {middle, in, 1, 1}, Init::kaiming_normal(), options)),
      conv2(add_parameter("conv2.weight", {growth, middle, 3, 3}, Init::kaiming_normal(), options)) {
  add_child("norm1", norm1);
  add_child("norm2", norm2);
}

DenseBlock::DenseBlock(int64_t count, int64_t in, int64_t growth, int64_t middle,
                       const TensorOptions& options) {
  for (int64_t i = 0; i < count; ++i) {
    add_child(fmt::format("denselayer{}", i + 1), layers_, in + i * growth, growth, middle, options);
    const Layer& l = layers_.back();
    parameters_.push_back({l.norm1.weight, l.norm1.bias, l.norm1.running_mean, l.norm1.running_var, l.conv1,
                           l.norm2.weight, l.norm2.bias, l.norm2.running_mean, l.norm2.running_var, l.conv2});
  }
}

Variable DenseBlock::Layer::forward_composed(const Variable& x, const Context& context) {
  const Variable z = convolution(norm1.forward(x, context, true), conv1, {}, 1, 0, context.tf32());
  return concat({x, convolution(norm2.forward(z, context, true), conv2, {}, 1, 1, context.tf32())}, 3);
}

// Layers that are frozen alike go together; shards meet in every batch norm.
Variable DenseBlock::forward(const Variable& x, const Context& context) {
  Variable result = x;
  for (size_t first = 0, last = 0; first < layers_.size(); first = last) {
    const bool frozen = layers_[first].norm1.frozen();
    if (layers_[last++].half_frozen() || context.shards != nullptr) {
      result = layers_[first].forward_composed(result, context);
      continue;
    }
    while (last < layers_.size() && !layers_[last].half_frozen() && layers_[last].norm1.frozen() == frozen)
      ++last;
    const std::vector<DenseLayer> part(parameters_.begin() + static_cast<long>(first),
                                       parameters_.begin() + static_cast<long>(last));
    result = dense_block(result, part, context.training && !frozen, context.tf32());
  }
  return result;
}

Transition::Transition(int64_t in, int64_t out, const TensorOptions& options)
    : norm_(in, options), conv_(in, out, {}, options) {
  add_child("norm", norm_);
  add_child("conv", conv_);
}

Variable Transition::normalize(const Variable& x, const Context& context) {
  return norm_.forward(x, context, true);
}

// The convolution and the average are both linear and commute: averaging first costs a quarter.
Variable Transition::reduce(const Variable& normalized, const Context& context) {
  return conv_.forward(average_pool(normalized, {.kernel = 2, .stride = 2, .padding = 0}), context);
}

}  // namespace medfusion::layers
