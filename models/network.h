// What every network of the project takes and gives, and how one is made from options.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/module.h"

namespace medfusion::models {

// One batch. Modalities a network does not read may be left undefined.
struct Inputs {
  core::Tensor images;         // [B, H, W, channels] floating
  core::Tensor image_present;  // [B] bool; undefined: all present
  core::Tensor table;          // [B, T] floating, 0 where missing
  core::Tensor table_missing;  // [B, T] bool; undefined: none missing
  core::Tensor table_present;  // [B] bool; undefined: all present
  core::Tensor tokens;         // [B, W] i64, 0 is padding
};

struct NetworkOptions {
  std::string name = "medfusionnet";  // or "densenet": the plain classifier
  std::string size = "small";         // "densenet121", "small", "tiny"
  int64_t labels = 1;
  int64_t image_channels = 1;
  core::DType dtype = core::DType::f32;
  core::Device device;  // of the parameters; inputs are brought there

  // MedFusionNet only. Modalities: at least one.
  bool image = true;
  int64_t table_features = 0;  // 0: no table
  int64_t vocabulary = 0;      // 0: no text
  int64_t text_length = 0;
  // Branches: at least one. Dense and pyramid need the image.
  bool dense_branch = true;
  bool pyramid_branch = true;
  bool attention_branch = true;

  int64_t dim = 0;  // token width D; this and the next four: 0 takes the size's default
  int64_t heads = 0;
  int64_t layers = 0;
  double mlp_ratio = 0.0;
  int64_t pyramid_channels = 0;
  std::vector<int64_t> token_levels = {4, 5};  // of 2..5
  bool bilinear = false;                       // upsampling in the pyramid: nearest otherwise
  bool align_corners = false;                  // of bilinear
  double dropout = 0.0;
  double modality_dropout = 0.0;  // chance, in training, that a sample's table (or text, or image) is hidden
  core::Tensor selection;         // [labels, T] bool: the features stage one chose per label; undefined: all
};

class Network : public layers::Module {
 public:
  // Logits [B, labels].
  virtual core::Variable forward(const Inputs& inputs, layers::Context& context) const = 0;
  // Sets the biases of the outputs so that an untrained network predicts `logits` [labels] for everyone.
  virtual void set_prior(const core::Tensor& logits) const = 0;
};

// Makes and validates; throws core::InputError on options that do not fit together. Parameters are zero until
// initialize() or a checkpoint fills them.
std::unique_ptr<Network> make_network(const NetworkOptions& options);

}  // namespace medfusion::models
