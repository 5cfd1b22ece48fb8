// Which label each sample of a batch differentiates in one pass.
#pragma once

#include <cstdint>
#include <vector>

#include "core/autograd.h"

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
  // Differentiates the round's labels of logits [B, outputs].
  void backward(size_t round, const core::Variable& logits) const;

 private:
  std::vector<int64_t> labels_;
  std::vector<std::vector<size_t>> places_;  // of each sample
  size_t count_ = 0;
};

}  // namespace medfusion::tools
