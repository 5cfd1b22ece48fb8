#include "data/table/table_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/random.h"
#include "core/word_list.h"
#include "data/number_writing.h"
#include "data/statistics/samples.h"

namespace medfusion::data {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

int64_t rows_of(const Column& column) {
  return static_cast<int64_t>(column.numeric ? column.numbers.size() : column.categories.size());
}

// The place of `word` in `known`, or of the same number written otherwise; -1 where there is none.
int64_t category_place(const std::vector<std::string>& known, const std::string& word) {
  auto found = std::lower_bound(known.begin(), known.end(), word);
  if (found != known.end() && *found == word) return found - known.begin();
  const auto number = parse_written(word, DecimalMark::point);
  if (!number) return -1;
  found = std::find_if(known.begin(), known.end(),
                       [&](const auto& other) { return parse_written(other, DecimalMark::point) == number; });
  return found == known.end() ? -1 : found - known.begin();
}

// Cells that become missing, for a note.
struct UnreadCells {
  int64_t count = 0;
  std::set<std::string> words;

  void add(const std::string& word) {
    ++count;
    words.insert(word);
  }
  void note(const std::string& column, int64_t rows, const char* what,
            std::vector<std::string>& notes) const {
    if (count == 0) return;
    constexpr size_t kShown = 3;
    notes.push_back(fmt::format("column '{}': {} of {} cells hold {}, read as missing, such as {}", column,
                                count, rows, what,
                                core::list_words(std::vector(words.begin(), words.end()), kShown, "'")));
  }
};

std::vector<double> numbers_of(const Column& column, bool decimal_comma, std::vector<std::string>& notes) {
  const std::vector<std::string_view> cells(column.categories.begin(), column.categories.end());
  const NumberWriting writing =
      writing_of(cells, DecimalMark::automatic, decimal_comma ? DecimalMark::comma : DecimalMark::point);
  std::vector<double> numbers;
  UnreadCells unread;
  for (const std::string& cell : column.categories) {
    auto value = parse_written(cell, writing.mark);
    if (value && std::abs(*value) > std::numeric_limits<float>::max()) value.reset();
    if (!value && !cell.empty()) unread.add(cell);
    numbers.push_back(value.value_or(kMissing));
  }
  unread.note(column.name, rows_of(column), "no number", notes);
  if (writing.either > 0 && writing.unusual > 0) {
    notes.push_back(fmt::format("column '{}': '{}' is read as {}", column.name, cells[writing.example],
                                numbers[writing.example]));
  }
  return numbers;
}

// The values in the middles of kDraws equal parts of sorted ones.
std::vector<double> spread(const std::vector<double>& sorted) {
  std::vector<double> result;
  for (size_t part = 0; part < TableEncoder::kDraws; ++part)
    result.push_back(sorted[(2 * part + 1) * sorted.size() / (2 * TableEncoder::kDraws)]);
  return result;
}

}  // namespace

double TableEncoder::Source::transformed(double value) const {
  return log ? std::copysign(std::log1p(std::abs(value)), value) : value;
}

float TableEncoder::Source::encoded(double raw) const {
  if (!numeric) return static_cast<float>(raw);
  return scale > 0.0 ? static_cast<float>((transformed(raw) - mean) / scale) : 0.0F;
}

TableEncoder::Source TableEncoder::fit_numeric(const Column& column, const std::vector<int64_t>& rows,
                                               bool log) {
  Source source;
  source.name = column.name;
  source.log = log;
  source.decimal_comma = column.decimal_comma;
  std::vector<double> known, sorted;
  for (const int64_t row : rows) {
    const double value = column.numbers[static_cast<size_t>(row)];
    if (std::isnan(value)) continue;
    known.push_back(source.transformed(value));
    sorted.push_back(value);
  }
  if (known.empty()) return source;
  std::sort(sorted.begin(), sorted.end());
  source.fill = median(sorted);
  const auto count = static_cast<double>(known.size());
  for (const double value : known) source.mean += value / count;
  const auto [least, most] = std::minmax_element(known.begin(), known.end());
  if (*least == *most) return source;  // by comparison: rounding leaves a constant a tiny deviation
  double variance = 0.0;
  for (const double value : known) variance += (value - source.mean) * (value - source.mean) / count;
  source.scale = std::sqrt(variance);
  if (sorted.size() == rows.size()) source.draws = spread(sorted);
  return source;
}

TableEncoder::Source TableEncoder::fit_categorical(const Column& column, const std::vector<int64_t>& rows) {
  std::map<std::string, int64_t> counts;
  for (const int64_t row : rows) ++counts[column.categories[static_cast<size_t>(row)]];
  const bool gaps = counts.erase("") > 0;
  Source source;
  std::vector<double> places;
  source.name = column.name;
  source.numeric = false;
  int64_t most = 0;
  for (const auto& [category, count] : counts) {
    if (count > most) {  // of equally frequent ones the first
      most = count;
      source.fill = static_cast<double>(source.categories.size());
    }
    places.insert(places.end(), static_cast<size_t>(count), static_cast<double>(source.categories.size()));
    source.categories.push_back(category);
  }
  if (!gaps && source.categories.size() > 1) source.draws = spread(places);
  return source;
}

TableEncoder TableEncoder::fit(const std::vector<Column>& columns, const std::vector<int64_t>& rows,
                               const std::vector<std::string>& log_columns, Imputation imputation) {
  TableEncoder encoder;
  encoder.imputation_ = imputation;
  for (const std::string& name : log_columns) {
    const bool numeric = std::any_of(columns.begin(), columns.end(),
                                     [&](const Column& c) { return c.name == name && c.numeric; });
    if (!numeric) core::throw_input_error({}, "log_columns: the table has no numeric column '{}'", name);
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
  owners_.clear();
  for (size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = sources_[i];
    if (source.categories.size() == 2) {
      names_.push_back(source.name + "=" + source.categories[1]);
    } else if (source.categories.size() > 2) {
      for (const std::string& category : source.categories) names_.push_back(source.name + "=" + category);
    } else {
      names_.push_back(source.name);
    }
    owners_.resize(names_.size(), static_cast<int64_t>(i));
  }
}

// The raw features of one row.
void TableEncoder::read_cell(const Source& source, const Column& column, size_t row, double* values) {
  if (source.numeric) {
    *values = column.numbers[row];
    return;
  }
  const auto& known = source.categories;
  const int64_t index = category_place(known, column.categories[row]);
  std::fill_n(values, source.width(), index >= 0 ? 0.0 : kMissing);
  if (index < 0 || known.size() == 1) return;
  if (known.size() == 2) {
    *values = static_cast<double>(index);
  } else {
    values[index] = 1.0;
  }
}

// The encoded features of a missing cell as imputation has them.
void TableEncoder::fill_in(const Source& source, float* values) {
  if (source.categories.size() > 2) {
    std::fill_n(values, source.width(), 0.0F);
    values[static_cast<int64_t>(source.fill)] = 1.0F;
  } else {
    *values = source.encoded(source.fill);
  }
}

const Column& TableEncoder::find(const std::vector<Column>& columns, const Source& source) {
  const auto column =
      std::find_if(columns.begin(), columns.end(), [&](const Column& c) { return c.name == source.name; });
  if (column == columns.end()) core::throw_input_error({}, "the table has no column '{}'", source.name);
  MEDFUSION_CHECK(rows_of(*column) == rows_of(columns.front()),
                  "TableEncoder: column '{}' has {} rows, the first column {}", source.name, rows_of(*column),
                  rows_of(columns.front()));
  return *column;
}

Column TableEncoder::read_as(const Source& source, const Column& column, std::vector<std::string>& notes) {
  Column result{column.name, source.numeric, {}, {}, column.decimal_comma};
  if (source.numeric) {
    result.numbers = column.numeric ? column.numbers : numbers_of(column, source.decimal_comma, notes);
    return result;
  }
  for (int64_t row = 0; row < rows_of(column); ++row) {
    const auto at = static_cast<size_t>(row);
    const bool blank = column.numeric && std::isnan(column.numbers[at]);
    const std::string word = blank            ? ""
                             : column.numeric ? fmt::format("{}", column.numbers[at])
                                              : column.categories[at];
    const int64_t place = category_place(source.categories, word);
    result.categories.push_back(place < 0 ? word : source.categories[static_cast<size_t>(place)]);
  }
  return result;
}

std::vector<std::string> TableEncoder::column_names() const {
  std::vector<std::string> names;
  for (const Source& source : sources_) names.push_back(source.name);
  return names;
}

std::vector<Column> TableEncoder::as_trained(const std::vector<Column>& columns,
                                             std::vector<std::string>& notes) const {
  std::vector<Column> result;
  for (const Source& source : sources_) result.push_back(read_as(source, find(columns, source), notes));
  return result;
}

bool TableEncoder::Source::has_value(const Column& column, size_t row) const {
  return numeric ? !std::isnan(column.numbers[row]) : category_place(categories, column.categories[row]) >= 0;
}

std::vector<bool> TableEncoder::gaps(const std::vector<Column>& columns,
                                     const std::vector<int64_t>& features) const {
  std::vector<std::string> unread;
  const std::vector<Column> read = as_trained(columns, unread);
  std::vector<bool> result(read.empty() ? 0 : static_cast<size_t>(rows_of(read.front())));
  for (const int64_t feature : features) {
    const Source& source = source_of(feature);
    const Column& column = read[static_cast<size_t>(column_of(feature))];
    for (size_t row = 0; !source.draws.empty() && row < result.size(); ++row)
      result[row] = result[row] || !source.has_value(column, row);
  }
  return result;
}

std::vector<Column> TableEncoder::fill_gaps(const std::vector<Column>& columns, int64_t draw) const {
  std::vector<std::string> unread;
  std::vector<Column> result = as_trained(columns, unread);
  for (size_t place = 0; place < sources_.size(); ++place) {
    const Source& source = sources_[place];
    if (source.draws.empty()) continue;
    std::vector<double> values =
        source.draws;  // in an order of its own, so that gaps of two columns are apart
    core::Generator(place, 0).shuffle(values);
    const double value = values.at(static_cast<size_t>(draw));
    Column& column = result[place];
    for (size_t row = 0; row < static_cast<size_t>(rows_of(column)); ++row) {
      if (source.has_value(column, row)) continue;
      if (source.numeric) {
        column.numbers[row] = value;
      } else {
        column.categories[row] = source.categories[static_cast<size_t>(value)];
      }
    }
  }
  return result;
}

std::vector<std::vector<double>> TableEncoder::raw_features(const std::vector<Column>& columns) const {
  const int64_t rows = columns.empty() ? 0 : rows_of(columns.front());
  std::vector<std::vector<double>> result(names_.size(), std::vector<double>(static_cast<size_t>(rows)));
  size_t first = 0;
  std::vector<double> cell;
  for (const Source& source : sources_) {
    const Column& found = find(columns, source);
    std::vector<std::string> unread;
    const Column converted = found.numeric == source.numeric ? Column{} : read_as(source, found, unread);
    const Column& column = found.numeric == source.numeric ? found : converted;
    const auto width = static_cast<size_t>(source.width());
    cell.resize(width);
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
      read_cell(source, column, row, cell.data());
      for (size_t i = 0; i < width; ++i) result[first + i][row] = cell[i];
    }
    first += width;
  }
  return result;
}

float TableEncoder::encoded(int64_t feature, double raw) const { return source_of(feature).encoded(raw); }

core::Table TableEncoder::encode_missing(int64_t rows) const {
  core::Table table{core::Tensor::zeros({rows, features()}),
                    core::Tensor::full({rows, features()}, 1.0, core::DType::boolean),
                    {}};
  if (imputation_ == Imputation::none) return table;
  float* values = table.values.data<float>();
  for (int64_t row = 0; row < rows; ++row) {
    for (const Source& source : sources_) {
      fill_in(source, values);
      values += source.width();
    }
  }
  return table;
}

core::Table TableEncoder::encode(const std::vector<Column>& columns) const {
  const auto raw = raw_features(columns);
  core::Table table = encode_missing(columns.empty() ? 0 : rows_of(columns.front()));
  for (size_t feature = 0; feature < raw.size(); ++feature) {
    for (size_t row = 0; row < raw[feature].size(); ++row) {
      const double value = raw[feature][row];
      if (std::isnan(value)) continue;
      const size_t place = row * raw.size() + feature;
      table.values.data<float>()[place] = encoded(static_cast<int64_t>(feature), value);
      table.missing.data<bool>()[place] = false;
    }
  }
  return table;
}

nlohmann::json TableEncoder::to_json() const {
  nlohmann::json columns = nlohmann::json::array();
  for (const Source& source : sources_) {
    if (source.numeric) {
      columns.push_back({{"name", source.name}, {"mean", source.mean}, {"scale", source.scale}});
      if (source.log) columns.back()["log"] = true;
      if (source.decimal_comma) columns.back()["decimal"] = ",";
    } else {
      columns.push_back({{"name", source.name}, {"categories", source.categories}});
    }
    columns.back()["fill"] = source.fill;
    if (!source.draws.empty()) columns.back()["draws"] = source.draws;
  }
  return {{"columns", columns}, {"impute", imputation_ == Imputation::median ? "median" : "none"}};
}

TableEncoder TableEncoder::from_json(const nlohmann::json& json, const std::string& file) {
  TableEncoder encoder;
  try {
    encoder.imputation_ = json.value("impute", "none") == "median" ? Imputation::median : Imputation::none;
    for (const nlohmann::json& column : json.at("columns")) {
      Source source;
      source.name = column.at("name").get<std::string>();
      source.numeric = !column.contains("categories");
      if (source.numeric) {
        source.mean = column.at("mean").get<double>();
        source.scale = column.at("scale").get<double>();
        if (source.scale < 0.0)
          core::throw_input_error({file}, "expected the scale of '{}' to be at least 0, got {}", source.name,
                                  source.scale);
        source.log = column.value("log", false);
        source.decimal_comma = column.value("decimal", ".") == ",";
      } else {
        source.categories = column.at("categories").get<std::vector<std::string>>();
        if (!std::is_sorted(source.categories.begin(), source.categories.end())) {
          core::throw_input_error({file}, "expected the categories of '{}' in order", source.name);
        }
      }
      source.fill = column.value("fill", 0.0);
      const auto count = static_cast<double>(source.categories.size());
      if (count > 0.0 && !(source.fill >= 0.0 && source.fill < count)) {
        core::throw_input_error({file}, "expected the fill of '{}' to be one of its categories", source.name);
      }
      source.draws = column.value("draws", std::vector<double>());
      const bool known = std::all_of(source.draws.begin(), source.draws.end(), [&](double value) {
        return source.numeric || (value >= 0.0 && value < count);
      });
      if (!known || (!source.draws.empty() && source.draws.size() != kDraws))
        core::throw_input_error({file}, "expected {} draws of '{}' from its values", kDraws, source.name);
      encoder.sources_.push_back(std::move(source));
    }
  } catch (const nlohmann::json::exception& error) {
    core::throw_input_error({file}, "expected the encoder of a table: {}", error.what());
  }
  encoder.name_features();
  return encoder;
}

}  // namespace medfusion::data
