#include "models/backbone.h"

#include <algorithm>

#include "layers/functional/pooling.h"
#include "layers/trace.h"
#include "models/convnext/convnext.h"
#include "models/densenet/densenet.h"
#include "models/efficientnet/efficientnet_lite.h"
#include "models/resnet/resnet.h"
#include "models/vit/vit.h"

namespace medfusion::models {
namespace {

struct Entry {
  const char* name;
  PublishedNames names;
  std::unique_ptr<Backbone> (*make)(const NetworkOptions& options);
  int64_t (*last_side)(const ModelOptions& options, int64_t image_side);
};

int64_t a_32nd(const ModelOptions& /*options*/, int64_t side) { return (side + 31) / 32; }

template <class B, auto size>
std::unique_ptr<Backbone> make_of_size(const NetworkOptions& options) {
  return std::make_unique<B>(size, options.image_channels, options.parameters());
}

const Entry& entry_of(const std::string& name) {
  static const std::array entries{
      Entry{"densenet",
            {"features", "classifier"},
            [](const NetworkOptions& options) -> std::unique_ptr<Backbone> {
              return std::make_unique<DenseFeatures>(densenet_size(options.size), options.image_channels,
                                                     options.parameters());
            },
            [](const ModelOptions& options, int64_t side) {
              return densenet_size(options.size).last_side(side);
            }},
      Entry{"resnet18", {"", "fc"}, make_of_size<ResNet, kResNet18>, a_32nd},
      Entry{"resnet50", {"", "fc"}, make_of_size<ResNet, kResNet50>, a_32nd},
      Entry{"efficientnet_lite0",
            {"", "classifier"},
            [](const NetworkOptions& options) -> std::unique_ptr<Backbone> {
              return std::make_unique<EfficientNetLite0>(options.image_channels, options.stochastic_depth,
                                                         options.parameters());
            },
            a_32nd},
      Entry{"convnext_tiny",
            {"", "head.fc"},
            [](const NetworkOptions& options) -> std::unique_ptr<Backbone> {
              return std::make_unique<ConvNeXtTiny>(options.image_channels, options.stochastic_depth,
                                                    options.parameters());
            },
            a_32nd},
      Entry{"vit_small",
            {"", "head"},
            [](const NetworkOptions& options) -> std::unique_ptr<Backbone> {
              return std::make_unique<ViTSmall>(options.image_channels, options.name == "medfusionnet",
                                                options.stochastic_depth, options.parameters());
            },
            a_32nd},
  };
  const auto found = std::ranges::find(entries, name, &Entry::name);
  if (found == entries.end()) throw core::InputError(fmt::format("model: no backbone is called '{}'", name));
  return *found;
}

}  // namespace

core::Variable Backbone::cut(const layers::Context& context, const std::string& name,
                             const core::Variable& x) {
  return context.trace != nullptr ? context.trace->cut(name, x) : x;
}

core::Variable Backbone::pooled(const ImageLevels& levels) {
  return layers::global_average_pool(levels.backbone.back());
}

std::unique_ptr<Backbone> make_backbone(const std::string& name, const NetworkOptions& options) {
  return entry_of(name).make(options);
}

int64_t last_side(const ModelOptions& options, int64_t image_side) {
  return entry_of(options.name == "medfusionnet" ? options.backbone : options.name)
      .last_side(options, image_side);
}

int64_t image_step(const ModelOptions& options) {
  if (options.name == "vit_small") return 16;
  return options.name == "medfusionnet" && options.backbone == "vit_small" ? 32 : 1;
}

PublishedNames published_names(const std::string& name) { return entry_of(name).names; }

}  // namespace medfusion::models
