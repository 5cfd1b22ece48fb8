// What every network of the project takes and gives, and how one is made from options.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/batch.h"
#include "layers/module.h"
#include "models/model_options.h"

namespace medfusion::models {

// A batch after all work that belongs to the host: conversions, masks, modality dropout. What is left to do
// is work of the device alone, which can be captured as a graph. Undefined what the network does not read.
struct Prepared : core::Batch {
  std::vector<core::Tensor>
      own;  // what else this network's forward() reads; no other part of the program does

  std::vector<core::Tensor*> tensors();  // those of Batch, then `own`
  Prepared to(core::Device device) const;
};

// The settings, and what the data decides.
struct NetworkOptions : ModelOptions {
  int64_t labels = 1;
  int64_t image_channels = 1;
  core::DType dtype = core::DType::f32;
  core::Device device;  // of the parameters; inputs are brought there

  int64_t table_features = 0;  // 0: no table; read by MedFusionNet, and by others with a fusion

  // MedFusionNet only.
  int64_t vocabulary = 0;  // 0: no text
  int64_t text_length = 0;
  core::Tensor selection;  // [labels, T] bool: the features stage one chose per label; undefined: all
  std::vector<int64_t> table_bins;  // bins of each of the T features; empty: tokens carry no bin
  bool other_images = false;        // reads Batch::other_images

  layers::TensorOptions parameters() const { return {dtype, device}; }
};

// What the network computes of the image before it looks at anything else: C2..C5, and P2..P5 where there is
// a pyramid. Each [B, h, w, channels]; undefined without an image.
struct ImageLevels {
  std::array<core::Variable, 4> backbone, pyramid;
  std::array<core::Variable, 4> other_backbone, other_pyramid;  // of the second image of the case
  core::Variable class_token;                                   // [B, features], of a backbone that has one
};

class TableHead;

class Network : public layers::Module {
 public:
  // Logits [B, labels]. A training pass updates running statistics.
  core::Variable forward(const core::Batch& batch, layers::Context& context) {
    return forward(prepare(batch, context).to(device()), context);
  }
  // The same in two steps. prepare() works on the host and may share memory with the batch; it draws the
  // random numbers that decide what is hidden, so call it before forward() with the same context. forward()
  // takes what lies on the network's device, and from the second pass of a shape on only queues work there.
  virtual Prepared prepare(const core::Batch& batch, layers::Context& context) const = 0;
  core::Variable forward(const Prepared& batch, layers::Context& context) {
    return forward_from(image_levels(batch, context), batch, context);
  }
  // The two halves of that, for those who want something in between.
  virtual ImageLevels image_levels(const Prepared& batch, layers::Context& context) = 0;
  virtual core::Variable forward_from(const ImageLevels& levels, const Prepared& batch,
                                      layers::Context& context) = 0;
  virtual core::Device device() const = 0;
  // Sets the biases of the outputs so that an untrained network predicts `logits` [labels] for everyone.
  virtual void set_prior(const core::Tensor& logits) = 0;
  // Its linear model of the table, which optim/table_fit.h fits before training; null where it has none.
  virtual TableHead* table_head() { return nullptr; }
};

// Makes and validates; throws core::InputError on options that do not fit together. Parameters are zero until
// initialize() or a checkpoint fills them.
std::unique_ptr<Network> make_network(const NetworkOptions& options);

}  // namespace medfusion::models
