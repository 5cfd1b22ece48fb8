#include "models/network.h"

#include "models/densenet.h"
#include "models/medfusionnet.h"

namespace medfusion::models {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw core::InputError("model: " + message); }

void check_medfusionnet(const NetworkOptions& o) {
  const bool any_modality = o.image || o.table_features > 0 || o.vocabulary > 0;
  if (!any_modality) refuse("at least one modality (image, table, text) must be on");
  if (!o.dense_branch && !o.pyramid_branch && !o.attention_branch) refuse("at least one branch must be on");
  if (!o.image && (o.dense_branch || o.pyramid_branch)) {
    refuse("the dense and pyramid branches need the image; switch them off for a network without one");
  }
  if (!o.attention_branch && !o.image) refuse("without the image only the attention branch can predict");
  for (const int64_t level : o.token_levels) {
    if (level < 2 || level > 5)
      refuse(fmt::format("token_levels: expected levels from 2 to 5, got {}", level));
  }
  if (o.image && o.attention_branch && o.token_levels.empty()) refuse("token_levels: at least one level");
  if (!o.table_bins.empty() && static_cast<int64_t>(o.table_bins.size()) != o.table_features) {
    refuse(fmt::format("table_bins: expected {}, one per feature, got {}", o.table_features,
                       o.table_bins.size()));
  }
  for (const int64_t bins : o.table_bins) {
    if (bins < 1) refuse(fmt::format("table_bins: expected at least one bin, got {}", bins));
  }
  if (o.dim % 4 != 0) refuse(fmt::format("dim: expected a multiple of 4, got {}", o.dim));
  if (o.dim % o.heads != 0) refuse(fmt::format("dim {} is not divisible by heads {}", o.dim, o.heads));
}

NetworkOptions with_defaults(NetworkOptions o) {
  struct Defaults {
    int64_t dim, heads, layers, pyramid_channels;
  };
  const Defaults d = o.size == "densenet121" ? Defaults{256, 8, 2, 128}
                     : o.size == "small"     ? Defaults{64, 4, 2, 64}
                                             : Defaults{32, 2, 1, 16};
  const auto set = [](int64_t& value, int64_t otherwise) {
    if (value == 0) value = otherwise;
  };
  set(o.dim, d.dim);
  set(o.heads, d.heads);
  set(o.layers, d.layers);
  if (o.mlp_ratio == 0.0) o.mlp_ratio = 2.0;
  set(o.pyramid_channels, d.pyramid_channels);
  return o;
}

}  // namespace

std::unique_ptr<Network> make_network(const NetworkOptions& given) {
  densenet_size(given.size);  // throws on an unknown size
  if (given.labels < 1) refuse("at least one label");
  const layers::DeviceScope scope(given.device);
  if (given.name == "densenet") return std::make_unique<DenseNet>(given);
  if (given.name != "medfusionnet")
    refuse(fmt::format("expected medfusionnet or densenet, got '{}'", given.name));
  const NetworkOptions options = with_defaults(given);
  check_medfusionnet(options);
  return std::make_unique<MedFusionNet>(options);
}

}  // namespace medfusion::models
