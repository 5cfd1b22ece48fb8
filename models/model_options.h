// The settings of the network, section [model] of a configuration.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/settings.h"

namespace medfusion::models {

// What logits become: probabilities of independent labels, or of labels of which exactly one is right.
inline constexpr std::array kOutputs{"auto", "sigmoid", "softmax"};
enum class Output : uint8_t { automatic, sigmoid, softmax };
constexpr core::Names names_of(Output) { return kOutputs; }

inline constexpr std::array kTextForms{"words", "mean"};
enum class TextForm : uint8_t { words, mean };
constexpr core::Names names_of(TextForm) { return kTextForms; }

inline constexpr std::array kUpsamplings{"nearest", "bilinear"};
enum class Upsampling : uint8_t { nearest, bilinear };
constexpr core::Names names_of(Upsampling) { return kUpsamplings; }

// How a plain network reads the table (models/table_fusion.h).
inline constexpr std::array kFusions{"none", "concat", "film", "metablock"};
enum class Fusion : uint8_t { none, concat, film, metablock };
constexpr core::Names names_of(Fusion) { return kFusions; }

// Published networks that a classifier is made of, or that stand under MedFusionNet (models/backbone.h).
inline constexpr std::array kBackbones{"resnet18", "resnet50", "efficientnet_lite0", "convnext_tiny",
                                       "vit_small"};

struct ModelOptions {
  std::string name = "medfusionnet";
  std::string backbone = "densenet";
  Fusion fusion = Fusion::none;
  std::string size = "small";
  Output output = Output::automatic;
  struct Branches {
    bool dense = true, pyramid = true, attention = true, table = false;
  } branches = {};
  struct Modalities {
    bool image = true, table = true, text = true;
  } modalities = {};
  int64_t dim = 0;
  int64_t heads = 0;
  int64_t layers = 0;
  double mlp_ratio = 0.0;
  int64_t pyramid_channels = 0;
  std::vector<int64_t> token_levels = {4, 5};
  TextForm text_tokens = TextForm::words;
  Upsampling upsample = Upsampling::nearest;
  bool align_corners = false;
  double dropout = 0.1;
  double modality_dropout = 0.1;
  double stochastic_depth = 0.0;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("name", name, Range::one_of(names_with("medfusionnet", "densenet")),
          "`medfusionnet`, or a plain classifier of the image (docs/models.md): `densenet` of the size "
          "`model.size`, or a published network. `model.fusion` lets it read the table.");
    visit("backbone", backbone, Range::one_of(names_with("densenet")),
          "What MedFusionNet reads images with: `densenet` of the size `model.size`, or a published network "
          "(docs/models.md).");
    visit(
        "fusion", fusion,
        "How a plain classifier reads the table: not at all (`none`); beside its pooled features (`concat`); "
        "or by what it does to the channels of the last feature map, as `film` or `metablock` "
        "(docs/models.md).");
    visit("size", size, Range::one_of({"densenet121", "small", "tiny"}),
          "Size of the DenseNet. It also decides the defaults of the keys below that are 0.");
    visit("output", output,
          "`sigmoid`: labels are independent. `softmax`: exactly one label is true, so the probabilities add "
          "up to 1. `auto` takes softmax where the data says that exactly one label is true "
          "(`data.class_column`, `data.exclusive`, the classes of `medmnist`), and else sigmoid.");
    visit("branches.dense", branches.dense,
          "Switches the logits of the dense branch on; the other branches read its features in any case.");
    visit("branches.pyramid", branches.pyramid, "Switches the pyramid branch on.");
    visit("branches.attention", branches.attention,
          "Switches the attention branch on, which reads image, table and text.");
    visit("branches.table", branches.table,
          "Adds the logits of a linear model of the table, which is fitted by logistic regression before "
          "training begins (docs/medfusionnet.md).");
    visit("modalities.image", modalities.image, "The network reads images.");
    visit("modalities.table", modalities.table, "The network reads the table.");
    visit("modalities.text", modalities.text, "The network reads text.");
    visit("dim", dim, Range::in(0, 8192),
          "Width of the tokens, a multiple of 4 and of `model.heads`; 0 is the size's default.");
    visit("heads", heads, Range::in(0, 256), "Attention heads; 0 is the size's default.");
    visit("layers", layers, Range::in(0, 64), "Layers of the attention branch; 0 is the size's default.");
    visit("mlp_ratio", mlp_ratio, Range::in(0, 16),
          "Hidden width of the MLP in a layer, in units of `model.dim`; 0 is the size's default.");
    visit("pyramid_channels", pyramid_channels, Range::in(0, 4096),
          "Channels of the pyramid's feature maps; 0 is the size's default.");
    visit("token_levels", token_levels, Range::in(2, 5), "Pyramid levels whose pixels become tokens.");
    visit("text_tokens", text_tokens,
          "`words`: a token for each word; `mean`: a single token, the mean over the words.");
    visit("upsample", upsample, "How the pyramid enlarges a feature map.");
    visit("align_corners", align_corners,
          "With `bilinear`: whether the centres of the corner pixels stay in place; if false, half-pixel "
          "centres are used.");
    visit("dropout", dropout, Range::below(0, 1), "Share of activations dropped in training.");
    visit("stochastic_depth", stochastic_depth, Range::below(0, 1),
          "Probability that a training sample skips the last residual block of `efficientnet_lite0`, "
          "`convnext_tiny` or `vit_small`. It falls to 0 at the first block. The other networks have none.");
    visit(
        "modality_dropout", modality_dropout, Range::below(0, 1),
        "Probability that a training sample loses a modality, so that the network learns to do without it.");
  }
  void check_rules(const core::Require& require) const;
  // The given names, and those of the published networks.
  template <class... Names>
  static std::vector<std::string> names_with(Names... names) {
    std::vector<std::string> all{names...};
    all.insert(all.end(), kBackbones.begin(), kBackbones.end());
    return all;
  }
  // Puts the size's defaults where dim, heads, layers, mlp_ratio or pyramid_channels is 0.
  void fill_in_size();
};

}  // namespace medfusion::models
