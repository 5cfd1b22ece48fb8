#include "models/network.h"

#include "models/medfusionnet/network.h"
#include "models/plain_network.h"

namespace medfusion::models {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw core::InputError("model: " + message); }

void check_medfusionnet(const NetworkOptions& o) {
  if (!o.modalities.image && o.table_features == 0 && o.vocabulary == 0)
    refuse("at least one modality (image, table, text) must be on");
  if (!o.table_bins.empty() && static_cast<int64_t>(o.table_bins.size()) != o.table_features) {
    refuse(fmt::format("table_bins: expected {}, one per feature, got {}", o.table_features,
                       o.table_bins.size()));
  }
  for (const int64_t bins : o.table_bins) {
    if (bins < 1) refuse(fmt::format("table_bins: expected at least one bin, got {}", bins));
  }
}

}  // namespace

std::vector<core::Tensor*> Prepared::tensors() {
  std::vector<core::Tensor*> result = Batch::tensors();
  for (core::Tensor& tensor : own) result.push_back(&tensor);
  return result;
}

Prepared Prepared::to(core::Device device) const {
  Prepared result = *this;
  for (core::Tensor* const tensor : result.tensors()) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return result;
}

std::unique_ptr<Network> make_network(const NetworkOptions& given) {
  core::check_ranges<ModelOptions>(given, "model");
  given.check_rules([](bool condition, const std::vector<std::string>& keys, const std::string& message) {
    if (!condition) refuse(keys.front() + ": " + message);
  });
  if (given.labels < 1) refuse("at least one label");
  if (given.fusion != Fusion::none && given.table_features == 0)
    refuse("fusion: the data has no table to read");
  if (given.other_images && (given.name != "medfusionnet" || !given.branches.attention))
    throw core::InputError("data.group_images: expected medfusionnet with its attention branch");
  if (given.name != "medfusionnet") return std::make_unique<PlainNetwork>(given);
  check_medfusionnet(given);
  NetworkOptions options = given;
  options.fill_in_size();
  return std::make_unique<MedFusionNet>(options);
}

}  // namespace medfusion::models
