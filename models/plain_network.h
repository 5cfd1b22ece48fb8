// A backbone with the last layer of its published classifier. It reads the image, and the table where
// options.fusion says how.
#pragma once

#include <memory>
#include <optional>

#include "layers/linear.h"
#include "models/backbone.h"
#include "models/table_fusion.h"

namespace medfusion::models {

class PlainNetwork : public Network {
 public:
  // options.name says which.
  explicit PlainNetwork(const NetworkOptions& options)
      : device_(options.device), backbone_(make_backbone(options.name, options)) {
    const PublishedNames names = published_names(options.name);
    add_child(names.features, *backbone_);
    if (options.fusion != Fusion::none)
      add_child("table_fusion", fusion_, options.fusion, options.table_features, backbone_->channels().back(),
                options.parameters());
    const int64_t added = fusion_ ? fusion_->added() : 0;
    add_child(names.head, head_, backbone_->features() + added, options.labels,
              layers::Init::xavier_uniform(), options.parameters());
  }

  Prepared prepare(const core::Batch& batch, layers::Context& /*context*/) const override {
    Prepared result;
    result.images = batch.images;
    if (fusion_) result.own.push_back(fusion_->prepare(batch));
    return result;
  }
  ImageLevels image_levels(const Prepared& batch, layers::Context& context) override {
    return backbone_->forward(core::Variable(batch.images), context);
  }
  core::Variable forward_from(const ImageLevels& levels, const Prepared& batch,
                              layers::Context& context) override {
    if (!fusion_) return head_->forward(backbone_->pooled(levels), context);
    const core::Variable table(batch.own.front());
    ImageLevels seen = levels;
    core::Variable& last = seen.class_token.defined() ? seen.class_token : seen.backbone.back();
    last = fusion_->modulate(last, table, context);
    return head_->forward(fusion_->append(backbone_->pooled(seen), table, context), context);
  }
  core::Device device() const override { return device_; }
  void set_prior(const core::Tensor& logits) override { head_->bias.value().copy_from(logits); }

 private:
  core::Device device_;
  std::unique_ptr<Backbone> backbone_;
  std::optional<TableFusion> fusion_;
  std::optional<layers::Linear> head_;
};

}  // namespace medfusion::models
