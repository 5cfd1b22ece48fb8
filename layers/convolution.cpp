#include "layers/convolution.h"

#include <vector>

#include "layers/functional/concat.h"
#include "layers/functional/convolution.h"
#include "layers/functional/depthwise_convolution.h"
#include "layers/functional/matmul.h"

namespace medfusion::layers {

using core::Variable;

namespace {

// Zeros around the image.
Variable pad(Variable x, const Padding& rows, const Padding& columns) {
  const Padding each[] = {rows, columns};
  for (int i = 0; i < 2; ++i) {
    const int dimension = i + 1;
    const auto zeros = [&](int64_t count) {
      core::Shape shape = x.shape();
      shape[dimension] = count;
      return Variable(core::Tensor::zeros(shape, x.dtype(), x.device()));
    };
    std::vector<Variable> parts{x};
    if (each[i].before > 0) parts.insert(parts.begin(), zeros(each[i].before));
    if (each[i].after > 0) parts.push_back(zeros(each[i].after));
    if (parts.size() > 1) x = concat(parts, dimension);
  }
  return x;
}

}  // namespace

Convolution::Convolution(int64_t in, int64_t out, const ConvolutionOptions& window,
                         const TensorOptions& options)
    : weight(
          add_parameter("weight", {out, in, window.kernel, window.kernel}, Init::kaiming_normal(), options)),
      window_(window) {
  if (window.bias) bias = add_parameter("bias", {out}, Init::constant(0.0), options);
}

Variable Convolution::forward(const Variable& x, const Context& context) {
  Variable image = x;
  int64_t padding = window_.padding;
  if (window_.same) {
    const Padding rows = same_padding(x.size(1), window_.kernel, window_.stride);
    const Padding columns = same_padding(x.size(2), window_.kernel, window_.stride);
    const bool symmetric =
        rows.before == rows.after && columns.before == rows.before && columns.after == rows.after;
    padding = symmetric ? rows.before : 0;
    if (!symmetric) image = pad(image, rows, columns);
  }
  return convolution(context.in_bf16(image) ? cast(image, core::DType::bf16) : image, weight, bias,
                     window_.stride, padding, context.tf32());
}

DepthwiseConvolution::DepthwiseConvolution(int64_t channels, const ConvolutionOptions& window,
                                           const TensorOptions& options)
    : weight(add_parameter("weight", {channels, 1, window.kernel, window.kernel}, Init::kaiming_normal(),
                           options)),
      window_(window) {
  if (window.bias) bias = add_parameter("bias", {channels}, Init::constant(0.0), options);
}

Variable DepthwiseConvolution::forward(const Variable& x) {
  const auto padding = [&](int64_t size) {
    return window_.same ? same_padding(size, window_.kernel, window_.stride)
                        : Padding{window_.padding, window_.padding};
  };
  return depthwise_convolution(x, weight, bias, window_.stride, padding(x.size(1)), padding(x.size(2)));
}

ConvNorm::ConvNorm(const std::string& convolution, const std::string& norm, int64_t in, int64_t out,
                   const ConvolutionOptions& window, const TensorOptions& options)
    : convolution_(in, out, window, options), norm_(out, options) {
  add_child(convolution, convolution_);
  add_child(norm, norm_);
}

Variable ConvNorm::forward(const Variable& x, const Context& context) {
  return norm_.forward(convolution_.forward(x, context), context, true);
}

}  // namespace medfusion::layers
