// A linear model of the table, whose logits are added to those of a network that reads everything: the wide
// part of Cheng et al., "Wide & deep learning for recommender systems", DLRS 2016.
#pragma once

#include <vector>

#include "core/batch.h"
#include "layers/module.h"
#include "models/model_options.h"

namespace medfusion::models {

// The table as a vector, [B, 2 T] f64: the values, 0 where missing (what imputation put there stays), then 1
// where missing and else 0. A sample without a table, by table_present, has nothing but missing values.
// Throws core::Error where the batch has no table of T = `features`.
core::Tensor table_vector(const core::Batch& batch, int64_t features);

class TableHead : public layers::Module {
 public:
  // selection [labels, T] bool: the features that a label reads; undefined: all. bins: of each feature;
  // empty: none.
  TableHead(int64_t labels, int64_t features, const std::vector<int64_t>& bins, const core::Tensor& selection,
            const layers::TensorOptions& options);
  // On the host: [B, inputs()], the table's vector and then, for each cut between the bins of each feature, 1
  // where the value is not below it, else 0; 0 where the value is missing. A sample that is not `present`
  // ([B] bool) has zeros alone, and so gets logits of 0.
  core::Tensor prepare(const core::Batch& batch, const core::Tensor& present) const;
  int64_t inputs() const { return weight.size(1); }
  // prepared -> [B, labels].
  core::Variable forward(const core::Variable& prepared, const layers::Context& context);

  // Of the shape of weight: 1 where a label reads the input, else 0.
  const core::Tensor& seen() const { return seen_; }

  core::Variable weight;  // [labels, inputs()]

 private:
  int64_t features_;
  std::vector<int64_t> first_cut_;  // input where each feature's cuts start, and the end; empty: no bins
  core::Tensor seen_;               // on the device of the parameters
};

}  // namespace medfusion::models
