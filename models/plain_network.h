// A backbone with the last layer of its published classifier. It reads the image only.
#pragma once

#include <memory>

#include "layers/linear.h"
#include "models/backbone.h"

namespace medfusion::models {

class PlainNetwork : public Network {
 public:
  // options.name says which.
  explicit PlainNetwork(const NetworkOptions& options)
      : device_(options.device),
        backbone_(make_backbone(options.name, options)),
        head_(backbone_->features(), options.labels, layers::Init::xavier_uniform(), options.parameters()) {
    const PublishedNames names = published_names(options.name);
    add_child(names.features, *backbone_);
    add_child(names.head, head_);
  }

  Prepared prepare(const core::Batch& batch, layers::Context& /*context*/) const override {
    Prepared result;
    result.images = batch.images;
    return result;
  }
  ImageLevels image_levels(const Prepared& batch, layers::Context& context) override {
    return backbone_->forward(core::Variable(batch.images), context);
  }
  core::Variable forward_from(const ImageLevels& levels, const Prepared& /*batch*/,
                              layers::Context& context) override {
    return head_.forward(backbone_->pooled(levels), context);
  }
  core::Device device() const override { return device_; }
  void set_prior(const core::Tensor& logits) override { head_.bias.value().copy_from(logits); }

 private:
  core::Device device_;
  std::unique_ptr<Backbone> backbone_;
  layers::Linear head_;
};

}  // namespace medfusion::models
