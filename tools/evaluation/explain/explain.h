// Explains the predictions of a network for one batch: maps, attention, and what hiding a modality changes.
// docs/explain.md says how to read the results.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "layers/trace.h"
#include "models/network.h"
#include "tools/evaluation/explain/saliency.h"

namespace medfusion::tools {

// Levels of the image that are explained together: "P3", "P2+P3" (maps are added), or of the backbone "C2",
// "C2+C3".
class Levels {
 public:
  // Throws core::InputError on another text.
  static Levels parse(const std::string& text);
  bool backbone() const { return backbone_; }
  const std::vector<int64_t>& numbers() const { return numbers_; }  // of 2 to 5, ascending
  std::string text() const;

 private:
  bool backbone_ = false;
  std::vector<int64_t> numbers_;
};

enum class Modality : uint8_t { image, table, text };
inline constexpr std::array kModalities{Modality::image, Modality::table, Modality::text};
std::string name_of(Modality modality);

struct ExplainOptions {
  MapMethod method = MapMethod::hirescam;
  Levels levels;
  std::vector<int64_t> map_labels;  // whose maps are wanted
  // [B][map label]: whether this sample's map is, where gradients make it; empty: all. Others are undefined.
  std::vector<std::vector<bool>> wanted;
  bool attention = true;  // off: maps only
};

// What hiding something changes: logits with it minus logits without, [B, L] f32, and where it was there to
// be hidden.
struct Contribution {
  core::Tensor logits;        // of all samples without it, [B, L]; undefined: the network does not read it
  std::vector<bool> present;  // [B]; where false, there was nothing to hide
};

// All tensors f32 on the host.
struct Explanation {
  core::Tensor logits;                          // [B, L]
  std::vector<std::vector<core::Tensor>> maps;  // [B][map label] [height, width] of the network's image;
                                                // undefined without an image
  std::vector<layers::Trace::Tokens> tokens;    // of the sequence; empty without the attention branch
  std::vector<core::Tensor> attention;          // per encoder layer, the label tokens' rows [B, L, S]
  core::Tensor rollout;                         // [B, L, S]
  core::Tensor gate;                            // [B, L, branches]; undefined where there is one branch
  std::vector<std::string> branches;
  std::array<Contribution, 3> modalities;  // by Modality
  std::vector<Contribution> features;      // of each table feature
};

// Attention rollout (Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020): the product
// of (P_i + 1) / 2 over the layers i, for the queries of the last one. probabilities: [B, S, S], the last
// [B, L, S], f32 on the host. Rows sum to 1.
core::Tensor attention_rollout(const std::vector<core::Tensor>& probabilities);

// The attention of a label to the tokens of an image level as a map: row [S] -> [h, w].
core::Tensor attention_map(const core::Tensor& row, const layers::Trace::Tokens& tokens);

// One forward pass for everything but maps, one pass over the heads per hidden modality and feature, one with
// backward per map label (and level of the backbone: through the whole network; `integrated` and `guided` add
// eight). Throws core::InputError where
// the network has no such level. Parameters' gradients are overwritten with what is of no use.
Explanation explain(models::Network& network, const core::Batch& inputs, const ExplainOptions& options);

}  // namespace medfusion::tools
