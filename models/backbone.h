// Networks that turn an image into feature maps of four scales: what a plain classifier is made of, and what
// MedFusionNet reads images with.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "models/network.h"

namespace medfusion::models {

// Parameters have their published names, those of the classifier's last layer left out.
class Backbone : public layers::Module {
 public:
  // images [B, H, W, channels] -> C2..C5, of a 4th, 8th, 16th and 32nd of height and width, if the network
  // has such scales. Each can be cut by its name, "C2" to "C5", and so can "image" (layers/trace.h).
  virtual ImageLevels forward(const core::Variable& images, layers::Context& context) = 0;
  // What the last layer of the published classifier reads: [B, features()]. By default the mean of C5.
  virtual core::Variable pooled(const ImageLevels& levels);
  virtual std::array<int64_t, 4> channels() const = 0;  // of C2..C5
  virtual int64_t features() const { return channels().back(); }

 protected:
  static core::Variable cut(const layers::Context& context, const std::string& name, const core::Variable& x);
};

// `name` is one of kBackbones, or "densenet": the one of options.size. Of the options it
// takes image_channels, what parameters are made as, stochastic_depth, and whether the name is
// MedFusionNet's.
std::unique_ptr<Backbone> make_backbone(const std::string& name, const NetworkOptions& options);
// Height or width of C5 of a network with these options, of images of this height or width.
int64_t last_side(const ModelOptions& options, int64_t image_side);
// What the height and width of images must be a multiple of.
int64_t image_step(const ModelOptions& options);

// Published weights name their tensors like this.
struct PublishedNames {
  std::string features;  // before the backbone's names: "features", or nothing
  std::string head;      // the last layer: "fc"
};
PublishedNames published_names(const std::string& name);

}  // namespace medfusion::models
