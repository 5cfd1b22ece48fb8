// MedFusionNet: dense, pyramid and attention branches over image, table and text, gated per label. What it
// computes is written down in docs/medfusionnet.md; parameter names are those given there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "layers/trace.h"
#include "models/densenet/densenet.h"
#include "models/network.h"

namespace medfusion::models {

// Tensors that depend on sizes only: made on the host once, then kept on the device.
class DeviceConstants {
 public:
  // The one of `key`, which is what `make` gives at the first call.
  core::Tensor get(const core::Shape& key, core::Device device,
                   const std::function<core::Tensor()>& make) const;

 private:
  struct Entry {
    core::Shape key;
    core::Tensor tensor;
  };
  mutable std::mutex mutex_;
  mutable std::vector<Entry> entries_;
};

class MedFusionNet : public Network {
 public:
  explicit MedFusionNet(const NetworkOptions& options);
  ~MedFusionNet() override;
  Prepared prepare(const Inputs& inputs, layers::Context& context) const override;
  ImageLevels image_levels(const Prepared& batch, layers::Context& context) const override;
  core::Variable forward_from(const ImageLevels& levels, const Prepared& batch,
                              layers::Context& context) const override;
  core::Device device() const override { return options_.device; }
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

  void prepare_text(const Inputs& inputs, const Presence& present, Prepared& batch) const;
  core::Variable attend(const Prepared& batch, const std::map<int64_t, core::Variable>& levels,
                        layers::Context& context) const;
  Presence presence(const Inputs& inputs, layers::Context& context) const;
  core::Tensor gate_bias(const Presence& presence) const;
  core::Tensor pair_mask(int64_t tokens, int64_t table_begin) const;
  std::vector<layers::Trace::Tokens> token_groups(const std::map<int64_t, core::Variable>& levels) const;

  NetworkOptions options_;
  DeviceConstants pair_masks_;  // by the number of tokens
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
