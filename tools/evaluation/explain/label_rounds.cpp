#include "tools/evaluation/explain/label_rounds.h"

#include <algorithm>
#include <utility>

namespace medfusion::tools {

LabelRounds::LabelRounds(int64_t batch, std::vector<int64_t> labels,
                         const std::vector<std::vector<bool>>& wanted)
    : labels_(std::move(labels)), places_(static_cast<size_t>(batch)) {
  for (size_t b = 0; b < places_.size(); ++b) {
    for (size_t l = 0; l < labels_.size(); ++l) {
      if (wanted.empty() || wanted[b][l]) places_[b].push_back(l);
    }
    count_ = std::max(count_, places_[b].size());
  }
}

int64_t LabelRounds::place(size_t round, int64_t sample) const {
  const auto& mine = places_[static_cast<size_t>(sample)];
  return round < mine.size() ? static_cast<int64_t>(mine[round]) : -1;
}

void LabelRounds::backward(size_t round, const core::Variable& logits) const {
  const int64_t outputs = logits.size(1);
  core::Tensor direction = core::Tensor::zeros(logits.shape(), core::DType::f32);
  for (int64_t b = 0; b < logits.size(0); ++b) {
    const int64_t at = place(round, b);
    if (at >= 0) direction.data<float>()[b * outputs + labels_[static_cast<size_t>(at)]] = 1.0F;
  }
  logits.backward(direction.to(logits.dtype()).to(logits.value().device()));
}

}  // namespace medfusion::tools
