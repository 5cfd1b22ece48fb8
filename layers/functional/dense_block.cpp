#include "layers/functional/dense_block.h"

#include <algorithm>

#include "core/product_count.h"
#include "kernels/dense_block/dense_block.h"
#include "kernels/registry.h"
#include "layers/functional/matmul.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;
constexpr size_t kParameters = 6;  // of a layer that have gradients

// A layer's tensors, and what its forward leaves for its backward.
struct SavedLayer {
  Tensor parameters[kParameters];  // norm1 weight and bias, conv1, norm2 weight and bias, conv2
  Tensor norm1_mean, norm1_var, norm2_mean, norm2_var;
  Tensor z, z_mean, z_inv_std;

  kernels::DenseBlockLayer views() const {
    return {.norm1_weight = parameters[0].view(),
            .norm1_bias = parameters[1].view(),
            .norm1_mean = norm1_mean.view(),
            .norm1_var = norm1_var.view(),
            .conv1 = parameters[2].view(),
            .norm2_weight = parameters[3].view(),
            .norm2_bias = parameters[4].view(),
            .norm2_mean = norm2_mean.view(),
            .norm2_var = norm2_var.view(),
            .conv2 = parameters[5].view(),
            .z = z.view(),
            .z_mean = z_mean.view(),
            .z_inv_std = z_inv_std.view()};
  }
};

void check(const Variable& x, const std::vector<DenseLayer>& layers, bool training) {
  MEDFUSION_CHECK(core::is_floating(x.dtype()) && x.rank() == 4,
                  "dense_block: expected x [batch, height, width, channels] of f32, f64 or bf16, got {} {}",
                  core::name_of(x.dtype()), x.shape().str());
  const core::DType dtype = core::statistics_dtype(x.dtype());
  MEDFUSION_CHECK(!training || x.size(0) * x.size(1) * x.size(2) > 1,
                  "dense_block: training wants more than one value per channel, got x {}", x.shape().str());
  int64_t channels = x.size(3);
  for (size_t i = 0; i < layers.size(); ++i) {
    const DenseLayer& l = layers[i];
    MEDFUSION_CHECK(l.conv1.rank() == 4 && l.conv2.rank() == 4, "dense_block: layer {}: conv1 {}, conv2 {}",
                    i, l.conv1.shape().str(), l.conv2.shape().str());
    const int64_t middle = l.conv1.size(0);
    const auto expect = [&](const char* name, const Tensor& t, const Shape& shape) {
      MEDFUSION_CHECK(t.shape() == shape && t.dtype() == dtype && t.contiguous(),
                      "dense_block: layer {}: expected {} {} {} without gaps, got {} {}", i, name,
                      core::name_of(dtype), shape.str(), core::name_of(t.dtype()), t.shape().str());
    };
    expect("conv1", l.conv1.value(), {middle, channels, 1, 1});
    expect("conv2", l.conv2.value(), {l.conv2.size(0), middle, 3, 3});
    for (const Tensor& t : {l.norm1_weight.value(), l.norm1_bias.value(), l.norm1_mean, l.norm1_var}) {
      expect("norm1", t, {channels});
    }
    for (const Tensor& t : {l.norm2_weight.value(), l.norm2_bias.value(), l.norm2_mean, l.norm2_var}) {
      expect("norm2", t, {middle});
    }
    channels += l.conv2.size(0);
  }
}

std::vector<Variable> parameters_of(const DenseLayer& l) {
  return {l.norm1_weight, l.norm1_bias, l.conv1, l.norm2_weight, l.norm2_bias, l.conv2};
}

SavedLayer make_saved(const DenseLayer& l, const Tensor& z, bool training) {
  SavedLayer saved;
  const auto parameters = parameters_of(l);
  for (size_t i = 0; i < kParameters; ++i) saved.parameters[i] = parameters[i].value();
  saved.norm1_mean = l.norm1_mean;
  saved.norm1_var = l.norm1_var;
  saved.norm2_mean = l.norm2_mean;
  saved.norm2_var = l.norm2_var;
  saved.z = z;
  if (training) {
    const core::DType dtype = core::statistics_dtype(z.dtype());
    saved.z_mean = Tensor::empty({z.size(3)}, dtype, z.device());
    saved.z_inv_std = Tensor::empty({z.size(3)}, dtype, z.device());
  }
  return saved;
}

// What the whole block leaves for its backward.
struct SavedBlock {
  Tensor buffer, mean, inv_std;
  std::vector<SavedLayer> layers;
  bool training = false;
  bool tf32 = false;

  std::vector<kernels::DenseBlockLayer> views() const {
    std::vector<kernels::DenseBlockLayer> result;
    for (const SavedLayer& layer : layers) result.push_back(layer.views());
    return result;
  }
};

void run_backward(const SavedBlock& block, int64_t input_channels, const Tensor& g,
                  const core::InputGradients& inputs) {
  const core::DeviceType device = block.buffer.device().type;
  const Tensor gradient = g.clone();  // the kernel works in it
  std::vector<Tensor> grads;
  std::vector<kernels::DenseBlockLayerGradient> views;
  for (const SavedLayer& layer : block.layers) {
    core::View v[kParameters];
    for (size_t i = 0; i < kParameters; ++i) {
      const Tensor& p = layer.parameters[i];
      grads.push_back(Tensor::empty_like(p));
      v[i] = grads.back().view();
    }
    views.push_back({v[0], v[1], v[2], v[3], v[4], v[5]});
  }
  kernels::dispatch(kernels::DenseBlockBackward{.buffer = block.buffer.view(),
                                                .mean = block.mean.view(),
                                                .inv_std = block.inv_std.view(),
                                                .layers = block.views(),
                                                .gradient = gradient.view(),
                                                .gradients = views,
                                                .training = block.training,
                                                .eps = kEps,
                                                .tf32 = block.tf32},
                    device);
  for (size_t i = 0; i < grads.size(); ++i) inputs.accumulate(1 + i, grads[i]);
  inputs.accumulate(0, gradient.slice(3, 0, input_channels));
}

// A tensor without memory, for asking what kernels support.
core::View planned(const Shape& shape, core::DType dtype, core::Device device) {
  core::View view;
  view.dtype = dtype;
  view.device = device;
  view.shape = shape;
  view.strides = core::contiguous_strides(shape);
  return view;
}

// Whether the device has kernels, forward and backward, for the block on a buffer in the dtype of x.
bool has_kernels(const Variable& x, const std::vector<DenseLayer>& layers, int64_t channels, bool training) {
  const core::Device device = x.device();
  const core::DType statistics = core::statistics_dtype(x.dtype());
  const core::View buffer = planned({x.size(0), x.size(1), x.size(2), channels}, x.dtype(), device);
  const core::View per_channel = training ? planned({channels}, statistics, device) : core::View();
  kernels::DenseBlockForward forward{.buffer = buffer,
                                     .mean = per_channel,
                                     .inv_std = per_channel,
                                     .layers = {},
                                     .training = training,
                                     .eps = kEps,
                                     .momentum = kMomentum};
  kernels::DenseBlockBackward backward{.buffer = buffer,
                                       .mean = per_channel,
                                       .inv_std = per_channel,
                                       .layers = {},
                                       .gradient = buffer,
                                       .gradients = {},
                                       .training = training,
                                       .eps = kEps};
  for (const DenseLayer& l : layers) {
    const int64_t middle = l.conv1.size(0);
    kernels::DenseBlockLayer views = make_saved(l, Tensor(), false).views();
    views.z = planned({x.size(0), x.size(1), x.size(2), middle}, x.dtype(), device);
    if (training) views.z_mean = views.z_inv_std = planned({middle}, statistics, device);
    forward.layers.push_back(views);
    backward.gradients.push_back({views.norm1_weight, views.norm1_bias, views.conv1, views.norm2_weight,
                                  views.norm2_bias, views.conv2});
  }
  backward.layers = forward.layers;
  return kernels::is_supported(forward, device.type) && kernels::is_supported(backward, device.type);
}

}  // namespace

Variable dense_block(const Variable& x, const std::vector<DenseLayer>& layers, bool training, bool tf32) {
  check(x, layers, training);
  std::vector<Variable> inputs{x};
  int64_t channels = x.size(3);
  for (const DenseLayer& l : layers) {
    for (Variable& parameter : parameters_of(l)) inputs.push_back(std::move(parameter));
    channels += l.conv2.size(0);
  }
  if (x.dtype() == core::DType::bf16 && !has_kernels(x, layers, channels, training)) {
    return cast(dense_block(cast(x, core::DType::f32), layers, training, tf32), core::DType::bf16);
  }
  const bool recorded =
      core::gradients_enabled() &&
      std::any_of(inputs.begin(), inputs.end(), [](const Variable& v) { return v.requires_grad(); });
  const core::Device device = x.device();
  SavedBlock block;
  block.training = training;
  block.tf32 = tf32;
  block.buffer = Tensor::empty({x.size(0), x.size(1), x.size(2), channels}, x.dtype(), device);
  if (training) {
    const core::DType dtype = core::statistics_dtype(x.dtype());
    block.mean = Tensor::empty({channels}, dtype, device);
    block.inv_std = Tensor::empty({channels}, dtype, device);
  }
  block.buffer.slice(3, 0, x.size(3)).copy_from(x.value());
  Tensor z;
  for (const DenseLayer& l : layers) {
    const Shape shape{x.size(0), x.size(1), x.size(2), l.conv1.size(0)};
    core::ProductCount::add(x.size(0) * x.size(1) * x.size(2),
                            l.conv1.value().numel() + l.conv2.value().numel());
    if (recorded || !z.defined() || z.shape() != shape) z = Tensor::empty(shape, x.dtype(), device);
    block.layers.push_back(make_saved(l, z, training));
  }
  z = Tensor();
  kernels::dispatch(kernels::DenseBlockForward{.buffer = block.buffer.view(),
                                               .mean = block.mean.view(),
                                               .inv_std = block.inv_std.view(),
                                               .layers = block.views(),
                                               .training = training,
                                               .eps = kEps,
                                               .momentum = kMomentum,
                                               .tf32 = tf32},
                    device.type);
  const Tensor y = block.buffer;
  return Variable::result("dense_block", y, inputs,
                          [block = std::move(block), input_channels = x.size(3)](
                              const Tensor& g, const core::InputGradients& gradients) {
                            run_backward(block, input_channels, g, gradients);
                          });
}

}  // namespace medfusion::layers
