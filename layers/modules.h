// The layers that models are made of. Parameter names are those of PyTorch's modules: weight, bias,
// running_mean, running_var.
#pragma once

#include <memory>

#include "layers/module.h"

namespace medfusion::layers {

// x [..., in] -> [..., out]; weight [out, in], bias [out].
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, Init init, core::DType dtype);
  core::Variable forward(const core::Variable& x) const;
  const core::Tensor& bias() const { return bias_.value(); }

 private:
  core::Variable weight_, bias_;
};

struct ConvolutionOptions {
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t padding = 0;
  bool bias = false;
};

// x [B, H, W, in] -> [B, H', W', out]; weight [out, in, kernel, kernel], bias [out].
class Convolution : public Module {
 public:
  Convolution(int64_t in, int64_t out, const ConvolutionOptions& options, core::DType dtype);
  core::Variable forward(const core::Variable& x) const;

 private:
  ConvolutionOptions options_;
  core::Variable weight_, bias_;
};

// Over the last dimension of x [B, H, W, channels], then ReLU where `relu`. eps 1e-5, momentum 0.1.
class BatchNorm : public Module {
 public:
  BatchNorm(int64_t channels, core::DType dtype);
  core::Variable forward(const core::Variable& x, bool training, bool relu) const;

  core::Variable weight, bias;             // [channels]
  core::Tensor running_mean, running_var;  // [channels]
};

// Over the last dimension, eps 1e-5.
class LayerNorm : public Module {
 public:
  LayerNorm(int64_t width, core::DType dtype);
  core::Variable forward(const core::Variable& x) const;

 private:
  core::Variable weight_, bias_;
};

// Which keys a query may see: see layers/functional/attention.h. Undefined tensors mask nothing.
struct AttentionMasks {
  core::Tensor keys;   // [B, Tk] bool
  core::Tensor pairs;  // [Tq, Tk] bool
};

// One pre-norm encoder layer (docs/medfusionnet.md, attention branch). x [B, T, D]. Computes the first
// `queries` tokens only (all where queries is T) and returns [B, queries, D].
class EncoderLayer : public Module {
 public:
  EncoderLayer(int64_t dim, int64_t heads, int64_t mlp_dim, double dropout, core::DType dtype);
  core::Variable forward(const core::Variable& x, int64_t queries, const AttentionMasks& masks,
                         Context& context) const;

 private:
  class Attention;
  class Mlp;
  LayerNorm norm1_;
  std::unique_ptr<Attention> attention_;
  LayerNorm norm2_;
  std::unique_ptr<Mlp> mlp_;
  double dropout_;

 public:
  ~EncoderLayer() override;
};

}  // namespace medfusion::layers
