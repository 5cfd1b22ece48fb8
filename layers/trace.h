// What a forward pass shows of its inside, for explanations. Passed by Context::trace; a pass without one
// pays nothing for it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/autograd.h"

namespace medfusion::layers {

struct Trace {
  // The tokens [first, first + count) of the sequence. Those of an image level are its pixels in row-major
  // order.
  struct Tokens {
    enum class Kind : uint8_t { labels, image, other_image, table, text };
    Kind kind = Kind::labels;
    int64_t first = 0, count = 0;
    int64_t level = 0, height = 0, width = 0;  // of image tokens, of the second image as well
  };

  // Asked for: intermediate results by name ("image", "C2".."C5"). The pass goes on from a leaf of the same
  // value, kept in `cuts`, so that after backward() the leaf's gradient is that of the result, and nothing
  // before it is differentiated. Of results that depend on one another only one can be cut.
  std::set<std::string> wanted;
  std::map<std::string, core::Variable> cuts;

  // Attention probabilities of each encoder layer in order, the mean over its heads: [B, queries, S], where
  // queries is S, or in the last layer the number of labels. Collected where `attention` is set.
  bool attention = false;
  std::vector<core::Tensor> probabilities;
  std::vector<Tokens> tokens;  // the sequence, in order

  // The gate: weight of each branch, [B, labels, branches], and the branches' names in that order.
  core::Tensor gate;
  std::vector<std::string> branches;

  // `value`, or where `name` is wanted the leaf that replaces it.
  core::Variable cut(const std::string& name, const core::Variable& value) {
    if (!wanted.contains(name)) return value;
    return cuts[name] = core::Variable(value.value(), true);
  }
};

}  // namespace medfusion::layers
