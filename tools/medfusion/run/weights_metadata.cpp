#include "tools/medfusion/run/weights_metadata.h"

#include <algorithm>

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

Json describe_table(const Preprocessing& preprocessing) {
  Json features = Json::array();
  if (preprocessing.table_features() == 0) return features;
  const data::TableEncoder& encoder = *preprocessing.table;
  const std::vector<std::string>& all = encoder.feature_names();
  const std::vector<std::string> names = preprocessing.token_names();
  const auto bins = preprocessing.selection ? preprocessing.selection->bins() : std::vector<int64_t>();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto feature = std::find(all.begin(), all.end(), names[i]) - all.begin();
    features.push_back({{"name", names[i]}, {"kind", encoder.numeric(feature) ? "number" : "category"}});
    if (!bins.empty()) features.back()["bins"] = bins[i];
  }
  return features;
}

Json describe_input(const Config& config) {
  if (!config.model.modalities.image) return nullptr;
  const data::ImageFormat& format = config.data.image;
  Json input = {{"size", format.size},
                {"channels", format.channels},
                {"normalize", core::text_of(format.normalize)},
                {"mean", format.mean},
                {"std", format.std}};
  if (format.round_pixels) input["round_pixels"] = true;
  return input;
}

// On one line, and UTF-8 whatever the names are.
std::string json_text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::vector<std::string> texts(const std::vector<int64_t>& numbers) {
  std::vector<std::string> result;
  for (const int64_t number : numbers) result.push_back(std::to_string(number));
  return result;
}

}  // namespace

Metadata weights_metadata(const Config& config, const std::vector<std::string>& labels,
                          const Preprocessing& preprocessing) {
  const auto words = preprocessing.text ? preprocessing.text->words() : std::vector<std::string>();
  Json model = {{"name", config.model.name}, {"size", config.model.size}};
  if (config.model.name == "medfusionnet") {
    model["token_levels"] = config.model.token_levels;
    if (config.model.backbone != "densenet") model["backbone"] = config.model.backbone;
  } else if (config.model.fusion != models::Fusion::none) {
    model["fusion"] = core::text_of(config.model.fusion);
  }
  return {{"medfusion", MEDFUSION_VERSION},
          {"seed", std::to_string(config.seed)},
          {"model", json_text(model)},
          {"labels", json_text(labels)},
          {"output", json_text(core::text_of(config.model.output))},
          {"table", json_text(describe_table(preprocessing))},
          {"vocabulary", json_text(words)},
          {"input", json_text(describe_input(config))}};
}

optim::RowNames row_names(const Metadata& metadata, const std::string& file) {
  optim::RowNames names;
  std::string key;
  const auto read = [&](const char* wanted) {
    key = wanted;
    const auto found = metadata.find(key);
    // Keys of other programs may have the same name: only this one's are read.
    return found == metadata.end() || !metadata.contains("medfusion") ? Json() : Json::parse(found->second);
  };
  try {
    if (const Json labels = read("labels"); !labels.is_null())
      names.labels = labels.get<std::vector<std::string>>();
    if (const Json output = read("output"); !output.is_null()) names.output = output.get<std::string>();
    if (const Json words = read("vocabulary"); !words.is_null())
      names.words = words.get<std::vector<std::string>>();
    if (const Json model = read("model"); model.contains("token_levels"))
      names.levels = texts(model.at("token_levels").get<std::vector<int64_t>>());
    if (const Json table = read("table"); !table.is_null()) {
      names.features.emplace();
      for (const Json& feature : table) {
        // A number and a category of one name are not the same.
        const bool number = feature.at("kind").get<std::string>() == "number";
        names.features->push_back(feature.at("name").get<std::string>() + (number ? "" : " (category)"));
        if (feature.contains("bins")) names.bins.push_back(feature.at("bins").get<int64_t>());
      }
      if (!names.bins.empty() && names.bins.size() != names.features->size())
        core::throw_input_error({file}, "metadata 'table': expected bins for all features or for none");
    }
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({file}, "metadata '{}': expected JSON as train writes it", key);
  }
  return names;
}

}  // namespace medfusion::tools
