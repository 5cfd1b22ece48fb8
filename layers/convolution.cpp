#include "layers/convolution.h"

#include "layers/functional/convolution.h"
#include "layers/functional/matmul.h"

namespace medfusion::layers {

using core::Variable;

Convolution::Convolution(int64_t in, int64_t out, const ConvolutionOptions& window,
                         const TensorOptions& options)
    : weight(
          add_parameter("weight", {out, in, window.kernel, window.kernel}, Init::kaiming_normal(), options)),
      window_(window) {
  if (window.bias) bias = add_parameter("bias", {out}, Init::constant(0.0), options);
}

Variable Convolution::forward(const Variable& x, const Context& context) {
  return convolution(context.in_bf16(x) ? cast(x, core::DType::bf16) : x, weight, bias, window_.stride,
                     window_.padding, context.tf32());
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
