#include "models/model_options.h"

#include <fmt/format.h>

#include <set>

namespace medfusion::models {

void ModelOptions::fill_in_size() {
  struct Defaults {
    int64_t dim, heads, layers, pyramid_channels;
  };
  const Defaults d = size == "densenet121" ? Defaults{256, 8, 2, 128}
                     : size == "small"     ? Defaults{64, 4, 2, 64}
                                           : Defaults{32, 2, 1, 16};
  const auto set = [](auto& value, auto otherwise) {
    if (value == 0) value = otherwise;
  };
  set(dim, d.dim);
  set(heads, d.heads);
  set(layers, d.layers);
  set(mlp_ratio, 2.0);
  set(pyramid_channels, d.pyramid_channels);
}

void ModelOptions::check_rules(const core::Require& require) const {
  const auto& [dense, pyramid, attention, linear] = branches;
  const auto& [image, table, text] = modalities;
  require(image || table || text, {"model.modalities.image"},
          "expected at least one of image, table and text, got none");
  if (name != "medfusionnet") {
    require(image, {"model.modalities.image", "model.name"},
            fmt::format("expected true for \"{}\", got false", name));
    require(fusion == Fusion::none || table, {"model.fusion", "model.modalities.table"},
            "expected \"none\" where the table is not read");
    return;
  }
  require(fusion == Fusion::none, {"model.fusion", "model.name"},
          "expected \"none\" for \"medfusionnet\", which has a fusion of its own");
  require(dense || pyramid || attention, {"model.branches.dense"},
          "expected at least one of dense, pyramid and attention, got none");
  require(attention || image, {"model.branches.attention", "model.modalities.image"},
          "expected true, for the other branches need images");
  require(image || (!dense && !pyramid), {"model.modalities.image"},
          "the dense and pyramid branches need the image; switch them off for a network without one");
  require(dim % 4 == 0, {"model.dim"}, fmt::format("expected a multiple of 4, got {}", dim));
  ModelOptions full = *this;
  full.fill_in_size();
  require(full.dim % full.heads == 0, {"model.heads", "model.dim"},
          fmt::format("expected a divisor of model.dim = {}, got {}", full.dim, full.heads));
  require(table || !linear, {"model.branches.table", "model.modalities.table"},
          "expected false where the table is not read");
  const std::set<int64_t> levels(token_levels.begin(), token_levels.end());
  require(levels.size() == token_levels.size(), {"model.token_levels"}, "a level is there twice");
  require(!levels.empty() || !attention || !image, {"model.token_levels"},
          "expected at least one level, got none");
  require(!align_corners || upsample == Upsampling::bilinear, {"model.align_corners", "model.upsample"},
          "expected model.upsample = \"bilinear\" with it");
}

}  // namespace medfusion::models
