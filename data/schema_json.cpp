// schema.json.
#include <cmath>

#include "data/schema.h"

namespace medfusion::data {
namespace {

// Whole numbers are read by get_ref: get<int64_t>() would take 1.5 for 1, and of 1e308 it is undefined.
using Json = nlohmann::ordered_json;

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json range_json(const ValueRange& range) {
  if (std::isnan(range.low)) return {};
  return Json::array({number_json(range.low), number_json(range.high)});
}

ValueRange range_from(const Json& json) {
  if (json.is_null()) return {};
  return {json.at(0).get<double>(), json.at(1).get<double>()};
}

Json counts_json(const std::map<int64_t, int64_t>& counts) {
  Json json = Json::object();
  for (const auto& [value, count] : counts) json[std::to_string(value)] = count;
  return json;
}

std::map<int64_t, int64_t> counts_from(const Json& json) {
  std::map<int64_t, int64_t> counts;
  for (const auto& [value, count] : json.items()) counts[std::stoll(value)] = count.get_ref<const int64_t&>();
  return counts;
}

Json input_json(const InputSchema& input) {
  Json json = {{"name", input.name},
               {"role", "input"},
               {"kind", input.numeric ? "number" : "category"},
               {"missing", input.missing}};
  if (input.numeric) {
    json["range"] = range_json(input.range);
    json["distinct"] = input.distinct;
  } else {
    json["categories"] = Json::array();
    for (const auto& [category, count] : input.categories)
      json["categories"].push_back({{"name", category}, {"rows", count}});
  }
  json["coding"] = input.coding.empty() ? Json() : Json(input.coding);
  json["features"] = input.features;
  return json;
}

InputSchema input_from(const Json& json) {
  InputSchema input;
  input.name = json.at("name").get<std::string>();
  input.numeric = json.at("kind") == "number";
  input.missing = json.at("missing").get_ref<const int64_t&>();
  if (input.numeric) {
    input.range = range_from(json.at("range"));
    input.distinct = json.at("distinct").get_ref<const int64_t&>();
  } else {
    for (const Json& each : json.at("categories"))
      input.categories.emplace_back(each.at("name").get<std::string>(),
                                    each.at("rows").get_ref<const int64_t&>());
  }
  if (!json.at("coding").is_null()) input.coding = json.at("coding").get<std::string>();
  input.features = json.at("features").get<std::vector<std::string>>();
  return input;
}

Json columns_json(const Schema& schema) {
  Json columns = Json::array();
  for (const auto& [role, column] : schema.roles) columns.push_back({{"name", column}, {"role", role}});
  for (const std::string& label : schema.labels) columns.push_back({{"name", label}, {"role", "label"}});
  for (const InputSchema& input : schema.inputs) columns.push_back(input_json(input));
  for (const auto& [column, why] : schema.left_out)
    columns.push_back({{"name", column}, {"role", "left out"}, {"why", why}});
  return columns;
}

void read_column(const Json& json, Schema& schema) {
  const auto name = json.at("name").get<std::string>(), role = json.at("role").get<std::string>();
  if (role == "input") {
    schema.inputs.push_back(input_from(json));
  } else if (role == "label") {
    schema.labels.push_back(name);
  } else if (role == "left out") {
    schema.left_out.emplace_back(name, json.at("why").get<std::string>());
  } else {
    schema.roles.emplace_back(role, name);
  }
}

Json images_json(const ImageSchema& images) {
  if (images.looked_at == 0) return {};
  return {{"present", images.present},
          {"looked_at", images.looked_at},
          {"width", range_json(images.width)},
          {"height", range_json(images.height)},
          {"channels", counts_json(images.channels)},
          {"bits", counts_json(images.bits)},
          {"colored", images.colored},
          {"intensity", range_json(images.intensity)},
          {"mean", range_json(images.mean)},
          {"percentile_99", range_json(images.bright)}};
}

ImageSchema images_from(const Json& json) {
  ImageSchema images;
  if (json.is_null()) return images;
  images.present = json.at("present").get_ref<const int64_t&>();
  images.looked_at = json.at("looked_at").get_ref<const int64_t&>();
  images.width = range_from(json.at("width"));
  images.height = range_from(json.at("height"));
  images.channels = counts_from(json.at("channels"));
  images.bits = counts_from(json.at("bits"));
  images.colored = json.at("colored").get_ref<const int64_t&>();
  images.intensity = range_from(json.at("intensity"));
  images.mean = range_from(json.at("mean"));
  images.bright = range_from(json.at("percentile_99"));
  return images;
}

Json text_json(const TextSchema& text) {
  if (text.length == 0) return {};
  return {{"texts", text.texts},   {"empty", text.empty},    {"vocabulary", text.vocabulary},
          {"length", text.length}, {"words", text.words},    {"unknown", text.unknown},
          {"cut", text.cut},       {"longest", text.longest}};
}

TextSchema text_from(const Json& json) {
  TextSchema text;
  if (json.is_null()) return text;
  for (const auto& [key, value] : {std::pair{"texts", &text.texts},
                                   {"empty", &text.empty},
                                   {"vocabulary", &text.vocabulary},
                                   {"length", &text.length},
                                   {"words", &text.words},
                                   {"unknown", &text.unknown},
                                   {"cut", &text.cut},
                                   {"longest", &text.longest}}) {
    *value = json.at(key).get_ref<const int64_t&>();
  }
  return text;
}

Json part_input_json(const PartInput& input, bool numeric) {
  const auto number = [](double value) { return std::isnan(value) ? Json() : Json(value); };
  if (numeric)
    return {{"missing", input.missing}, {"mean", number(input.mean)}, {"deviation", number(input.deviation)}};
  Json categories = Json::object();
  for (const auto& [name, rows] : input.categories) categories[name] = rows;
  return {{"missing", input.missing}, {"categories", categories}};
}

PartInput part_input_from(const Json& json) {
  PartInput input;
  input.missing = json.at("missing").get_ref<const int64_t&>();
  if (json.contains("categories")) {
    for (const auto& [name, rows] : json.at("categories").items())
      input.categories.emplace_back(name, rows.get_ref<const int64_t&>());
    return input;
  }
  if (!json.at("mean").is_null()) input.mean = json.at("mean").get<double>();
  if (!json.at("deviation").is_null()) input.deviation = json.at("deviation").get<double>();
  return input;
}

Json part_json(const PartSchema& part, const Schema& schema) {
  Json json = {{"rows", part.rows}, {"patients", part.patients}, {"repeats", part.repeats}};
  json["labels"] = Json::object();
  for (size_t label = 0; label < schema.labels.size(); ++label) {
    const auto& [known, positive] = part.labels[label];
    json["labels"][schema.labels[label]] = {
        {"known", known},
        {"positive", positive},
        {"prevalence",
         known > 0 ? Json(static_cast<double>(positive) / static_cast<double>(known)) : Json()}};
  }
  json["inputs"] = Json::object();
  for (size_t input = 0; input < part.inputs.size(); ++input)
    json["inputs"][schema.inputs[input].name] =
        part_input_json(part.inputs[input], schema.inputs[input].numeric);
  return json;
}

PartSchema part_from(const std::string& name, const Json& json, const Schema& schema) {
  PartSchema part;
  part.name = name;
  part.rows = json.at("rows").get_ref<const int64_t&>();
  part.patients = json.at("patients").get_ref<const int64_t&>();
  part.repeats = json.at("repeats").get_ref<const int64_t&>();
  for (const std::string& label : schema.labels) {
    const Json& counts = json.at("labels").at(label);
    part.labels.push_back(
        {counts.at("known").get_ref<const int64_t&>(), counts.at("positive").get_ref<const int64_t&>()});
  }
  if (!json.contains("inputs")) return part;  // of an earlier version
  for (const InputSchema& input : schema.inputs)
    part.inputs.push_back(part_input_from(json["inputs"].at(input.name)));
  return part;
}

}  // namespace

Json Schema::to_json() const {
  Json json = {{"format", format}, {"rows", rows}, {"columns", columns_json(*this)}};
  json["exclusive_labels"] = exclusive;
  json["images"] = images_json(images);
  json["text"] = text_json(text);
  json["parts"] = Json::object();
  for (const PartSchema& part : parts) json["parts"][part.name] = part_json(part, *this);
  return json;
}

Schema Schema::from_json(const Json& json, const std::string& file) {
  Schema schema;
  try {
    schema.format = json.at("format").get<std::string>();
    schema.rows = json.at("rows").get_ref<const int64_t&>();
    for (const Json& column : json.at("columns")) read_column(column, schema);
    schema.exclusive = json.value("exclusive_labels", false);
    schema.images = images_from(json.at("images"));
    schema.text = text_from(json.at("text"));
    for (const auto& [name, part] : json.at("parts").items())
      schema.parts.push_back(part_from(name, part, schema));
  } catch (const std::exception& error) {
    core::throw_input_error({file}, "expected a description of data: {}", error.what());
  }
  return schema;
}

}  // namespace medfusion::data
