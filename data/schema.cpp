#include "data/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "data/readers/nih.h"
#include "data/statistics/samples.h"

namespace medfusion::data {
namespace {

using Roles = std::vector<std::pair<std::string, std::string>>;

Roles roles_of(const DataOptions& options, const Dataset& dataset) {
  const bool csv = options.format == DataFormat::csv;
  if (options.format == DataFormat::nih || options.format == DataFormat::phantom) {
    Roles roles{{"id", "Image Index"}, {"patient", "Patient ID"}, {"image", "Image Index"}};
    if (!dataset.texts.empty()) roles.emplace_back("text", "made of the inputs");
    return roles;
  }
  if (options.format == DataFormat::chexpert) return {{"id", "Path"}, {"patient", "Path"}, {"image", "Path"}};
  const std::pair<const char*, const std::string*> named[] = {
      {"id", &options.id_column},     {"patient", &options.patient_column}, {"image", &options.image_column},
      {"text", &options.text_column}, {"class", &options.class_column},     {"part", &options.part_column}};
  Roles roles;
  for (const auto& [role, column] : named) {
    if (csv && !column->empty()) roles.emplace_back(role, *column);
  }
  return roles;
}

// Of the formats whose columns and labels have fixed names; empty where the column is none of those.
std::string nih_reason(const DataOptions& options, const std::string& column) {
  if (std::find(kNihLabels.begin(), kNihLabels.end(), column) != kNihLabels.end()) {
    if (!options.label_names().empty()) return "a label that data.labels does not name";
    return options.min_positives > 1
               ? fmt::format("a label with fewer than {} positives", options.min_positives)
               : "a label without positives";
  }
  const bool geometry = column == "aspect_ratio" || column == "pixel_spacing";
  return geometry && options.table.empty() ? "an input only where data.table names it" : "";
}

std::string reason_left_out(const DataOptions& options, const Dataset& dataset, const std::string& column) {
  if (names_column(options.exclude, column)) return "data.exclude names it";
  for (const auto& [name, why] : dataset.left_out) {
    if (name == column) return why;
  }
  if (column.empty()) return "it has no name";
  if (options.format == DataFormat::nih || options.format == DataFormat::phantom) {
    if (const std::string reason = nih_reason(options, column); !reason.empty()) return reason;
  }
  return options.table.empty() ? "not read" : "data.table does not name it";
}

Roles columns_left_out(const DataOptions& options, const Dataset& dataset, const Roles& roles) {
  std::unordered_set<std::string> used(dataset.labels.begin(), dataset.labels.end());
  for (const auto& [role, column] : roles) used.insert(column);
  for (const Column& column : dataset.columns) used.insert(column.name);
  Roles result;
  for (const std::string& column : dataset.known_columns) {
    if (used.insert(column).second) result.emplace_back(column, reason_left_out(options, dataset, column));
  }
  return result;
}

InputSchema describe_input(const Column& column, const std::vector<int64_t>& rows) {
  InputSchema result;
  result.name = column.name;
  result.numeric = column.numeric;
  std::set<double> distinct;
  std::map<std::string, int64_t> counts;
  for (const int64_t row : rows) {
    const auto index = static_cast<size_t>(row);
    const bool missing =
        column.numeric ? std::isnan(column.numbers[index]) : column.categories[index].empty();
    result.missing += missing ? 1 : 0;
    if (missing) continue;
    if (!column.numeric) {
      ++counts[column.categories[index]];
      continue;
    }
    result.range.add(column.numbers[index]);
    distinct.insert(column.numbers[index]);
  }
  result.distinct = static_cast<int64_t>(distinct.size());
  result.categories.assign(counts.begin(), counts.end());
  return result;
}

// How the encoder turns a column into numbers, from the form in which it is stored.
std::string coding_of(const nlohmann::json& source) {
  if (!source.contains("categories")) {
    const auto scale = source.at("scale").get<double>();
    if (scale == 0.0) return "always 0";
    const char* x = source.value("log", false) ? "log(1+x)" : "x";
    return fmt::format("({} - {:.4g}) / {:.4g}", x, source.at("mean").get<double>(), scale);
  }
  const auto categories = source.at("categories").get<std::vector<std::string>>();
  if (categories.size() < 2) return "always 0";
  if (categories.size() == 2) return fmt::format("{} = 0, {} = 1", categories[0], categories[1]);
  return fmt::format("0 or 1 for each of {}", categories.size());
}

void add_codings(const SchemaEncoders& encoders, std::vector<InputSchema>& inputs) {
  if (encoders.table == nullptr) return;
  const nlohmann::json json = encoders.table->to_json();
  const auto& names = encoders.table->feature_names();
  const std::unordered_set<std::string> used(encoders.features.begin(), encoders.features.end());
  std::unordered_map<std::string, InputSchema*> by_name;
  for (InputSchema& input : inputs) by_name.emplace(input.name, &input);
  for (size_t f = 0; f < names.size(); ++f) {
    const auto found = by_name.find(encoders.table->column_name(static_cast<int64_t>(f)));
    if (found != by_name.end() && used.contains(names[f])) found->second->features.push_back(names[f]);
  }
  for (const nlohmann::json& source : json.at("columns")) {
    const auto found = by_name.find(source.at("name").get<std::string>());
    if (found != by_name.end() && !found->second->features.empty()) found->second->coding = coding_of(source);
  }
}

TextSchema describe_text(const std::vector<std::string>& texts, const std::vector<int64_t>& rows,
                         const Tokenizer& tokenizer) {
  TextSchema result;
  result.vocabulary = static_cast<int64_t>(tokenizer.words().size());
  result.length = tokenizer.max_length();
  const std::unordered_set<std::string> known(tokenizer.words().begin(), tokenizer.words().end());
  for (const int64_t row : rows) {
    const std::vector<std::string> words = tokenizer.words_of(texts[static_cast<size_t>(row)]);
    const auto count = static_cast<int64_t>(words.size());
    ++(words.empty() ? result.empty : result.texts);
    result.words += count;
    result.longest = std::max(result.longest, count);
    result.cut += std::max<int64_t>(0, count - result.length);
    result.unknown += std::count_if(words.begin(), words.end(),
                                    [&](const std::string& word) { return !known.contains(word); });
  }
  return result;
}

PartInput describe_part_input(const Column& column, const std::vector<int64_t>& rows) {
  PartInput result;
  std::map<std::string, int64_t> counts;
  std::vector<double> numbers;
  for (const int64_t row : rows) {
    const auto index = static_cast<size_t>(row);
    if (column.numeric ? std::isnan(column.numbers[index]) : column.categories[index].empty()) {
      ++result.missing;
    } else if (column.numeric) {
      numbers.push_back(column.numbers[index]);
    } else {
      ++counts[column.categories[index]];
    }
  }
  result.categories.assign(counts.begin(), counts.end());
  if (!numbers.empty()) result.mean = mean(numbers);
  if (numbers.size() > 1) result.deviation = deviation(numbers);
  return result;
}

PartSchema describe_part(const Dataset& dataset, const char* name, const std::vector<int64_t>& rows) {
  PartSchema part;
  part.name = name;
  part.rows = static_cast<int64_t>(rows.size());
  part.labels.resize(dataset.labels.size());
  std::set<std::string> patients;
  for (const int64_t row : rows) {
    const auto index = static_cast<size_t>(row);
    patients.insert(dataset.patients[index]);
    part.repeats += !dataset.repeats.empty() && dataset.repeats[index] != row ? 1 : 0;
    for (size_t label = 0; label < part.labels.size(); ++label) {
      const double target =
          dataset.targets.at(row * static_cast<int64_t>(part.labels.size()) + static_cast<int64_t>(label));
      part.labels[label].known += std::isnan(target) ? 0 : 1;
      part.labels[label].positive += target == 1.0 ? 1 : 0;
    }
  }
  part.patients = static_cast<int64_t>(patients.size());
  for (const Column& column : dataset.columns) part.inputs.push_back(describe_part_input(column, rows));
  return part;
}

}  // namespace

void ValueRange::add(double value) {
  low = std::isnan(low) ? value : std::min(low, value);
  high = std::isnan(high) ? value : std::max(high, value);
}

Schema describe(const DataOptions& options, const Dataset& dataset, const Splits& splits,
                const SchemaEncoders& encoders) {
  Schema schema;
  schema.format = dataset.name;
  schema.rows = dataset.size();
  schema.labels = dataset.labels;
  schema.exclusive = dataset.exclusive;
  schema.roles = roles_of(options, dataset);
  schema.left_out = columns_left_out(options, dataset, schema.roles);
  for (const Column& column : dataset.columns) schema.inputs.push_back(describe_input(column, splits.train));
  add_codings(encoders, schema.inputs);
  if (dataset.images != nullptr)
    schema.images = describe_images(*dataset.images, splits.train, kImagesDescribed);
  if (encoders.text != nullptr && !dataset.texts.empty())
    schema.text = describe_text(dataset.texts, splits.train, *encoders.text);
  const std::vector<int64_t>* const rows[] = {&splits.train, &splits.val, &splits.test};
  for (size_t part = 0; part < kPartNames.size(); ++part)
    schema.parts.push_back(describe_part(dataset, kPartNames[part], *rows[part]));
  return schema;
}

}  // namespace medfusion::data
