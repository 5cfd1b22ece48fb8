// Features of a table as tokens, as in FT-Transformer (Gorishniy et al., "Revisiting deep learning models for
// tabular data", NeurIPS 2021), with missing values and bins.
#pragma once

#include <optional>
#include <vector>

#include "core/batch.h"
#include "layers/embedding.h"

namespace medfusion::layers {

class FeatureTokens : public Module {
 public:
  // bins: of each feature; empty: tokens carry none.
  FeatureTokens(int64_t features, int64_t dim, const std::vector<int64_t>& bins,
                const TensorOptions& options);
  // On the host: values and missing (0 or 1) as [B, T, 1] in the parameters' dtype, NaN where missing read as
  // 0; bins as rows of the table `bin`. Throws core::Error for bins that the features do not have.
  core::Table prepare(const core::Table& given) const;
  // value * weight + missing * missing weight + bias + row of `bin`: [B, T, D].
  core::Variable forward(const core::Table& prepared);

  core::Variable weight, bias, missing;  // [T, D]

 private:
  std::vector<int64_t> first_bin_;  // row of `bin` where each feature's bins start, and the end
  std::optional<Embedding> bin_;    // [1 + bins of all features, D], row 0 where missing
};

}  // namespace medfusion::layers
