// Where in the image the evidence for labels lies, by the gradient with respect to its pixels: of the image
// itself and not of a layer, whose units may lie beside what they answer to.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "models/network.h"

namespace medfusion::tools {

// Samples do not see each other in evaluation, so one pass can differentiate another label in each: round r
// takes the r-th label that each sample wants.
class LabelRounds {
 public:
  // labels: columns of the logits; wanted[b][l]: whether sample b wants labels[l]; empty: all do.
  LabelRounds(int64_t batch, std::vector<int64_t> labels, const std::vector<std::vector<bool>>& wanted);
  size_t count() const { return count_; }
  // The place in `labels` that sample b differentiates in this round, or -1.
  int64_t place(size_t round, int64_t sample) const;
  // Ones at these labels, zeros elsewhere: [B, outputs] f32.
  core::Tensor direction(size_t round, int64_t outputs) const;

 private:
  std::vector<int64_t> labels_;
  std::vector<std::vector<size_t>> places_;  // of each sample
  size_t count_ = 0;
};

// Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017)
// from the image's blur (a Gaussian of 3/64 of the width) to the image x, by the midpoint rule with eight
// steps:
//   (x - blur) mean_t d logit / d x at blur + t (x - blur),
// summed over the channels; over all pixels together about what the logit has gained. inputs.images: f32
// [B, H, W, C] on the host. Returns [B][labels.size()] maps [H, W] f32, negative values included; undefined
// where wanted[b][l] is false (empty: all are wanted). Eight passes with backward for each label that a
// sample wants, samples side by side. Parameters' gradients are overwritten.
std::vector<std::vector<core::Tensor>> integrated_gradients(
    const models::Network& network, const models::Inputs& inputs, const std::vector<int64_t>& labels,
    const std::vector<std::vector<bool>>& wanted = {});

}  // namespace medfusion::tools
