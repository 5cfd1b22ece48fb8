// Convolutions of images [B, H, W, channels].
#pragma once

#include <string>

#include "layers/module.h"
#include "layers/norm.h"

namespace medfusion::layers {

struct ConvolutionOptions {
  int64_t kernel = 1, stride = 1, padding = 0;
  bool bias = false;
  bool same = false;  // pads as TensorFlow does (same_padding()), in place of `padding`
};

// x [B, H, W, in] -> [B, H', W', out].
class Convolution : public Module {
 public:
  Convolution(int64_t in, int64_t out, const ConvolutionOptions& window, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, const Context& context);

  core::Variable weight, bias;  // [out, in, kernel, kernel], [out]

 private:
  ConvolutionOptions window_;
};

// The same of each channel on its own, in f32 or f64.
class DepthwiseConvolution : public Module {
 public:
  DepthwiseConvolution(int64_t channels, const ConvolutionOptions& window, const TensorOptions& options);
  core::Variable forward(const core::Variable& x);

  core::Variable weight, bias;  // [channels, 1, kernel, kernel], [channels]

 private:
  ConvolutionOptions window_;
};

// A convolution, batch norm and ReLU, which are children of these names.
class ConvNorm : public Module {
 public:
  ConvNorm(const std::string& convolution, const std::string& norm, int64_t in, int64_t out,
           const ConvolutionOptions& window, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, const Context& context);

 private:
  Convolution convolution_;
  BatchNorm norm_;
};

}  // namespace medfusion::layers
