#include "data/table_encoder.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace medfusion::data {
namespace {

int64_t rows_of(const Column& column) {
  return static_cast<int64_t>(column.numeric ? column.numbers.size() : column.categories.size());
}

}  // namespace

double TableEncoder::Source::transformed(double value) const {
  return log ? std::copysign(std::log1p(std::abs(value)), value) : value;
}

TableEncoder::Source TableEncoder::fit_numeric(const Column& column, const std::vector<int64_t>& rows,
                                               bool log) {
  Source source;
  source.name = column.name;
  source.log = log;
  std::vector<double> known;
  for (const int64_t row : rows) {
    const double value = column.numbers[static_cast<size_t>(row)];
    if (!std::isnan(value)) known.push_back(source.transformed(value));
  }
  if (known.empty()) return source;
  const auto count = static_cast<double>(known.size());
  for (const double value : known) source.mean += value / count;
  const auto [least, most] = std::minmax_element(known.begin(), known.end());
  if (*least == *most) return source;  // by comparison: rounding leaves a constant a tiny deviation
  double variance = 0.0;
  for (const double value : known) variance += (value - source.mean) * (value - source.mean) / count;
  source.scale = std::sqrt(variance);
  return source;
}

TableEncoder::Source TableEncoder::fit_categorical(const Column& column, const std::vector<int64_t>& rows) {
  std::set<std::string> categories;
  for (const int64_t row : rows) categories.insert(column.categories[static_cast<size_t>(row)]);
  categories.erase("");
  Source source;
  source.name = column.name;
  source.numeric = false;
  source.categories.assign(categories.begin(), categories.end());
  return source;
}

TableEncoder TableEncoder::fit(const std::vector<Column>& columns, const std::vector<int64_t>& rows,
                               const std::vector<std::string>& log_columns) {
  TableEncoder encoder;
  for (const std::string& name : log_columns) {
    const bool numeric = std::any_of(columns.begin(), columns.end(),
                                     [&](const Column& c) { return c.name == name && c.numeric; });
    if (!numeric)
      core::throw_input_error({}, fmt::format("log_columns: the table has no numeric column '{}'", name));
  }
  for (const Column& column : columns) {
    for (const int64_t row : rows) {
      MEDFUSION_CHECK(row >= 0 && row < rows_of(column), "TableEncoder: row {} of column '{}' with {} rows",
                      row, column.name, rows_of(column));
    }
    const bool log = std::find(log_columns.begin(), log_columns.end(), column.name) != log_columns.end();
    encoder.sources_.push_back(column.numeric ? fit_numeric(column, rows, log)
                                              : fit_categorical(column, rows));
  }
  encoder.name_features();
  return encoder;
}

void TableEncoder::name_features() {
  names_.clear();
  for (const Source& source : sources_) {
    if (source.categories.size() == 2) {
      names_.push_back(source.name + "=" + source.categories[1]);
    } else if (source.categories.size() > 2) {
      for (const std::string& category : source.categories) names_.push_back(source.name + "=" + category);
    } else {
      names_.push_back(source.name);
    }
  }
}

// Writes the source's features of one row.
void TableEncoder::encode_cell(const Source& source, const Column& column, size_t row, float* values,
                               bool* missing) {
  const int64_t width = source.width();
  std::fill_n(values, width, 0.0F);
  if (source.numeric) {
    const double value = column.numbers[row];
    *missing = std::isnan(value);
    if (!*missing && source.scale > 0.0)
      *values = static_cast<float>((source.transformed(value) - source.mean) / source.scale);
    return;
  }
  const auto& known = source.categories;
  const auto found = std::lower_bound(known.begin(), known.end(), column.categories[row]);
  const bool is_known = found != known.end() && *found == column.categories[row];
  std::fill_n(missing, width, !is_known);
  if (!is_known || known.size() == 1) return;
  const auto index = found - known.begin();
  if (known.size() == 2) {
    *values = static_cast<float>(index);
  } else {
    values[index] = 1.0F;
  }
}

EncodedTable TableEncoder::encode(const std::vector<Column>& columns) const {
  const int64_t rows = columns.empty() ? 0 : rows_of(columns.front());
  EncodedTable table{core::Tensor::empty({rows, features()}),
                     core::Tensor::empty({rows, features()}, core::DType::boolean)};
  int64_t first = 0;
  for (const Source& source : sources_) {
    const auto column =
        std::find_if(columns.begin(), columns.end(), [&](const Column& c) { return c.name == source.name; });
    if (column == columns.end())
      core::throw_input_error({}, fmt::format("the table has no column '{}'", source.name));
    if (column->numeric != source.numeric) {
      core::throw_input_error({}, fmt::format("expected column '{}' to hold {}, as in training, got {}",
                                              source.name, source.numeric ? "numbers" : "categories",
                                              source.numeric ? "categories" : "numbers"));
    }
    MEDFUSION_CHECK(rows_of(*column) == rows, "TableEncoder: column '{}' has {} rows, the first column {}",
                    source.name, rows_of(*column), rows);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t offset = row * features() + first;
      encode_cell(source, *column, static_cast<size_t>(row), table.values.data<float>() + offset,
                  table.missing.data<bool>() + offset);
    }
    first += source.width();
  }
  return table;
}

nlohmann::json TableEncoder::to_json() const {
  nlohmann::json columns = nlohmann::json::array();
  for (const Source& source : sources_) {
    if (source.numeric) {
      columns.push_back({{"name", source.name}, {"mean", source.mean}, {"scale", source.scale}});
      if (source.log) columns.back()["log"] = true;
    } else {
      columns.push_back({{"name", source.name}, {"categories", source.categories}});
    }
  }
  return {{"columns", columns}};
}

TableEncoder TableEncoder::from_json(const nlohmann::json& json, const std::string& file) {
  TableEncoder encoder;
  try {
    for (const nlohmann::json& column : json.at("columns")) {
      Source source;
      source.name = column.at("name").get<std::string>();
      source.numeric = !column.contains("categories");
      if (source.numeric) {
        source.mean = column.at("mean").get<double>();
        source.scale = column.at("scale").get<double>();
        source.log = column.value("log", false);
      } else {
        source.categories = column.at("categories").get<std::vector<std::string>>();
        if (!std::is_sorted(source.categories.begin(), source.categories.end())) {
          core::throw_input_error({file},
                                  fmt::format("expected the categories of '{}' in order", source.name));
        }
      }
      encoder.sources_.push_back(std::move(source));
    }
  } catch (const nlohmann::json::exception& error) {
    core::throw_input_error({file}, fmt::format("expected the encoder of a table: {}", error.what()));
  }
  encoder.name_features();
  return encoder;
}

}  // namespace medfusion::data
