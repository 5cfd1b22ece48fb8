#include "models/network.h"

#include "models/densenet/densenet.h"
#include "models/medfusionnet/medfusionnet.h"

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

std::unique_ptr<Network> make_network(const NetworkOptions& given) {
  core::check_ranges<ModelOptions>(given, "model");
  given.check_rules([](bool condition, const std::vector<std::string>& keys, const std::string& message) {
    if (!condition) refuse(keys.front() + ": " + message);
  });
  if (given.labels < 1) refuse("at least one label");
  const layers::DeviceScope scope(given.device);
  if (given.name == "densenet") return std::make_unique<DenseNet>(given);
  check_medfusionnet(given);
  NetworkOptions options = given;
  options.fill_in_size();
  return std::make_unique<MedFusionNet>(options);
}

}  // namespace medfusion::models
