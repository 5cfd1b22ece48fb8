// The outputs of MedFusionNet (docs/medfusionnet.md): logits per label, and the mix of the branches.
#pragma once

#include <vector>

#include "layers/functional/concat.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/reduction.h"
#include "layers/functional/softmax.h"
#include "layers/functional/view.h"
#include "layers/module.h"
#include "layers/trace.h"

namespace medfusion::models {

// One linear unit per label: h [B, L, D] -> [B, L].
class LabelHead : public layers::Module {
 public:
  LabelHead(int64_t labels, int64_t dim, const layers::TensorOptions& options)
      : weight(add_parameter("weight", {labels, dim}, layers::Init::normal(0.02), options)),
        bias(add_parameter("bias", {labels}, layers::Init::constant(0.0), options)) {}
  core::Variable forward(const core::Variable& h) { return layers::sum(h * weight, {2}) + bias; }

  core::Variable weight, bias;  // [L, D], [L]
};

// Mixes the branches' logits per label. Without the attention branch (dim 0) the scores are the biases alone.
class Gate : public layers::Module {
 public:
  // Zero scores: every branch has the same say at first.
  Gate(int64_t branches, int64_t labels, int64_t dim, const layers::TensorOptions& options) {
    const layers::Init zero = layers::Init::constant(0.0);
    if (dim > 0) weight = add_parameter("weight", {branches, labels, dim}, zero, options);
    bias = add_parameter("bias", {branches, labels}, zero, options);
  }

  // h [B, L, D] or undefined; logits [B, L] of each of n branches; shift [B, n, 1] -> [B, L].
  core::Variable forward(const core::Variable& h, const std::vector<core::Variable>& logits,
                         const core::Tensor& shift, const layers::Context& context) {
    const int64_t samples = logits.front().size(0), labels = bias.size(1);
    core::Variable scores = layers::expand(bias, {samples, bias.size(0), labels});
    if (h.defined()) {
      scores = layers::sum(layers::reshape(h, {samples, 1, labels, h.size(2)}) * weight, {3}) + bias;
    }
    scores = layers::transpose(scores + core::Variable(shift), 1, 2);
    const core::Variable weights = layers::softmax(scores);  // [B, L, n]
    if (context.trace != nullptr) context.trace->gate = weights.value();
    std::vector<core::Variable> columns;
    for (const auto& z : logits) columns.push_back(layers::reshape(z, {samples, labels, 1}));
    return layers::sum(weights * layers::concat(columns, 2), {2});
  }

  core::Variable weight, bias;  // [n, L, D], undefined for dim 0; [n, L]
};

}  // namespace medfusion::models
