// The block as the paper has it, step by step, every intermediate stored: concatenated prefix, batch norm,
// ReLU, convolution. In f64 it is the reference, in f32 the fallback and the baseline of the fused version.
// The convolutions are those of kernels/convolution. `narrow`: what is stored between the steps is rounded to
// bf16, in whatever type it is held.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/tensor.h"
#include "kernels/convolution/convolution.h"
#include "kernels/dense_block/dense_block.h"
#include "kernels/registry.h"

namespace medfusion::kernels::dense_block {

using core::Tensor;
using core::View;

// Channels [first, last) of a pixel-major view, of none where it is undefined.
inline View channels_of(View view, int64_t first, int64_t last) {
  if (!view.defined()) return view;
  view.data = static_cast<char*>(view.data) + first * core::size_of(view.dtype);
  view.shape[view.rank() - 1] = last - first;
  return view;
}

template <class T>
class Textbook {
 public:
  Textbook(bool training, double eps, bool narrow = false)
      : training_(training), eps_(eps), narrow_(narrow) {}

  void forward(const DenseBlockForward& b) const {
    int64_t width = b.buffer.size(3);
    for (const DenseBlockLayer& layer : b.layers) width -= layer.conv2.size(0);
    for (const DenseBlockLayer& l : b.layers) {
      const int64_t growth = l.conv2.size(0);
      const View prefix = channels_of(b.buffer, 0, width);
      const View mean = channels_of(b.mean, 0, width);
      const View inv_std = channels_of(b.inv_std, 0, width);
      if (training_) update(prefix, mean, inv_std, l.norm1_mean, l.norm1_var, b.momentum);
      const Tensor a = normalize_relu(prefix, norm1(l, mean, inv_std));
      dispatch<ConvolutionForward>({.x = a.view(), .weight = l.conv1, .y = l.z}, core::DeviceType::cpu);
      keep(l.z);
      if (training_) update(l.z, l.z_mean, l.z_inv_std, l.norm2_mean, l.norm2_var, b.momentum);
      const Tensor c = normalize_relu(l.z, norm2(l));
      const View made = channels_of(b.buffer, width, width + growth);
      dispatch<ConvolutionForward>({.x = c.view(), .weight = l.conv2, .y = made, .padding = 1},
                                   core::DeviceType::cpu);
      keep(made);
      width += growth;
    }
  }

  void backward(const DenseBlockBackward& b) const {
    int64_t width = b.buffer.size(3);
    for (size_t i = b.layers.size(); i-- > 0;) {
      const DenseBlockLayer& l = b.layers[i];
      const DenseBlockLayerGradient& g = b.gradients[i];
      const int64_t growth = l.conv2.size(0);
      width -= growth;
      const Tensor d2 = Tensor::empty(l.z.shape, l.z.dtype);
      const Tensor c = normalize_relu(l.z, norm2(l));
      dispatch<ConvolutionBackward>({.x = c.view(),
                                     .weight = l.conv2,
                                     .grad_y = channels_of(b.gradient, width, width + growth),
                                     .grad_x = d2.view(),
                                     .grad_weight = g.conv2,
                                     .padding = 1},
                                    core::DeviceType::cpu);
      norm_relu_backward(l.z, norm2(l), d2.view(), g.norm2_weight, g.norm2_bias);

      const View prefix = channels_of(b.buffer, 0, width);
      const Norm norm = norm1(l, channels_of(b.mean, 0, width), channels_of(b.inv_std, 0, width));
      const Tensor a = normalize_relu(prefix, norm);
      const Tensor d1 = Tensor::empty(a.shape(), a.dtype());
      dispatch<ConvolutionBackward>({.x = a.view(),
                                     .weight = l.conv1,
                                     .grad_y = d2.view(),
                                     .grad_x = d1.view(),
                                     .grad_weight = g.conv1},
                                    core::DeviceType::cpu);
      norm_relu_backward(prefix, norm, d1.view(), g.norm1_weight, g.norm1_bias);
      const View total = channels_of(b.gradient, 0, width);
      for (int64_t p = 0; p < total.rows(); ++p) {
        for (int64_t k = 0; k < width; ++k) at(total, p, k) += at(d1.view(), p, k);
      }
      keep(total);
    }
  }

 private:
  // y = weight (x - mean) inv_std + bias
  struct Norm {
    View weight, bias, mean, inv_std;
    View running_var;  // in place of inv_std outside training

    T inverse(int64_t c, double eps) const {
      if (inv_std.defined()) return inv_std.as<T>()[c];
      return static_cast<T>(1.0 / std::sqrt(static_cast<double>(running_var.as<T>()[c]) + eps));
    }
  };

  void keep(const View& v) const {
    if (!narrow_) return;
    for (int64_t p = 0; p < v.rows(); ++p) {
      for (int64_t c = 0; c < v.size(3); ++c)
        at(v, p, c) = static_cast<T>(static_cast<float>(core::BFloat16(static_cast<float>(at(v, p, c)))));
    }
  }

  static T& at(const View& v, int64_t pixel, int64_t c) { return v.as<T>()[pixel * v.row_stride() + c]; }

  Norm norm1(const DenseBlockLayer& l, const View& mean, const View& inv_std) const {
    if (training_) return {l.norm1_weight, l.norm1_bias, mean, inv_std, {}};
    return {l.norm1_weight, l.norm1_bias, l.norm1_mean, {}, l.norm1_var};
  }
  Norm norm2(const DenseBlockLayer& l) const {
    if (training_) return {l.norm2_weight, l.norm2_bias, l.z_mean, l.z_inv_std, {}};
    return {l.norm2_weight, l.norm2_bias, l.norm2_mean, {}, l.norm2_var};
  }

  void update(const View& x, const View& mean, const View& inv_std, const View& running_mean,
              const View& running_var, double momentum) const {
    const auto count = static_cast<double>(x.rows());
    for (int64_t c = 0; c < x.size(3); ++c) {
      double sum = 0.0;
      double squares = 0.0;
      for (int64_t p = 0; p < x.rows(); ++p) sum += static_cast<double>(at(x, p, c));
      for (int64_t p = 0; p < x.rows(); ++p) {
        const double difference = static_cast<double>(at(x, p, c)) - sum / count;
        squares += difference * difference;
      }
      mean.as<T>()[c] = static_cast<T>(sum / count);
      inv_std.as<T>()[c] = static_cast<T>(1.0 / std::sqrt(squares / count + eps_));
      blend(running_mean.as<T>()[c], sum / count, momentum);
      blend(running_var.as<T>()[c], squares / std::max(1.0, count - 1.0), momentum);
    }
  }
  static void blend(T& running, double value, double momentum) {
    running = static_cast<T>((1.0 - momentum) * static_cast<double>(running) + momentum * value);
  }

  Tensor normalize_relu(const View& x, const Norm& n) const {
    const Tensor y = Tensor::empty(x.shape, x.dtype);
    for (int64_t c = 0; c < x.size(3); ++c) {
      const T scale = n.weight.template as<T>()[c] * n.inverse(c, eps_);
      for (int64_t p = 0; p < x.rows(); ++p) {
        const T value = (at(x, p, c) - n.mean.template as<T>()[c]) * scale + n.bias.template as<T>()[c];
        at(y.view(), p, c) = value < T(0) ? T(0) : value;
      }
    }
    keep(y.view());
    return y;
  }

  // From the gradient of max(norm(x), 0) to that of x, in place, and of the norm's parameters.
  void norm_relu_backward(const View& x, const Norm& n, const View& d, const View& grad_weight,
                          const View& grad_bias) const {
    const auto count = static_cast<double>(x.rows());
    for (int64_t c = 0; c < x.size(3); ++c) {
      const T inverse = n.inverse(c, eps_);
      const T mean = n.mean.template as<T>()[c];
      const T weight = n.weight.template as<T>()[c];
      double sum = 0.0;
      double sum_x = 0.0;
      for (int64_t p = 0; p < x.rows(); ++p) {
        const T normalized = (at(x, p, c) - mean) * inverse;
        if (!(normalized * weight + n.bias.template as<T>()[c] > T(0))) at(d, p, c) = T(0);
        sum += static_cast<double>(at(d, p, c));
        sum_x += static_cast<double>(at(d, p, c) * normalized);
      }
      grad_weight.as<T>()[c] = static_cast<T>(sum_x);
      grad_bias.as<T>()[c] = static_cast<T>(sum);
      const double batch = training_ ? 1.0 : 0.0;  // running statistics are constants
      for (int64_t p = 0; p < x.rows(); ++p) {
        const auto normalized = static_cast<double>((at(x, p, c) - mean) * inverse);
        const double correction = batch * (sum + normalized * sum_x) / count;
        at(d, p, c) = static_cast<T>(static_cast<double>(weight * inverse) *
                                     (static_cast<double>(at(d, p, c)) - correction));
      }
    }
    keep(d);
  }

  bool training_;
  double eps_;
  bool narrow_;
};

}  // namespace medfusion::kernels::dense_block
