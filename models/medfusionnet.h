// MedFusionNet: dense, pyramid and attention branches over image, table and text, gated per label. What it
// computes is written down in docs/architecture.md; parameter names are those given there.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "models/densenet.h"
#include "models/network.h"

namespace medfusion::models {

class MedFusionNet : public Network {
 public:
  explicit MedFusionNet(const NetworkOptions& options);
  ~MedFusionNet() override;
  core::Variable forward(const Inputs& inputs, layers::Context& context) const override;
  void set_prior(const core::Tensor& logits) const override;

 private:
  class Pyramid;
  class ImageTokens;
  class TableTokens;
  class TextTokens;
  class Encoder;
  class LabelHead;
  class Gate;
  struct Presence;

  core::Variable attend(const Inputs& inputs, const Presence& presence,
                        const std::map<int64_t, core::Variable>& levels, layers::Context& context) const;
  Presence presence(const Inputs& inputs, layers::Context& context) const;
  core::Tensor pair_mask(int64_t tokens, int64_t table_begin) const;

  NetworkOptions options_;
  std::unique_ptr<DenseFeatures> features_;
  std::unique_ptr<Pyramid> pyramid_;
  core::Variable label_queries_;
  std::unique_ptr<ImageTokens> image_tokens_;
  std::unique_ptr<TableTokens> table_tokens_;
  std::unique_ptr<TextTokens> text_tokens_;
  std::unique_ptr<Encoder> encoder_;
  std::unique_ptr<LabelHead> attention_head_;
  std::unique_ptr<layers::Linear> dense_head_;
  std::unique_ptr<layers::Linear> pyramid_head_;
  std::unique_ptr<Gate> gate_;
};

}  // namespace medfusion::models
