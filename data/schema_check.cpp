// New rows held against the data contract.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/word_list.h"
#include "data/schema.h"

namespace medfusion::data {
namespace {

constexpr size_t kWordsShown = 3;

std::string quoted(const std::set<std::string>& words) {
  return core::list_words(std::vector(words.begin(), words.end()), kWordsShown, "'");
}

std::string unknown_categories(const InputSchema& input, const Column& column,
                               const std::vector<int64_t>& rows) {
  std::set<std::string> known, unknown;
  for (const auto& [category, count] : input.categories) known.insert(category);
  int64_t count = 0;
  for (const int64_t row : rows) {
    const std::string& cell = column.categories[static_cast<size_t>(row)];
    if (cell.empty() || known.contains(cell)) continue;
    unknown.insert(cell);
    ++count;
  }
  if (count == 0) return {};
  return fmt::format(
      "column '{}': {} of {} rows have a category that training never saw ({}); read as unknown", input.name,
      count, rows.size(), quoted(unknown));
}

std::string outside_of_range(const InputSchema& input, const Column& column,
                             const std::vector<int64_t>& rows) {
  ValueRange outside;
  int64_t count = 0;
  for (const int64_t row : rows) {
    const double value = column.numbers[static_cast<size_t>(row)];
    if (std::isnan(value) || (value >= input.range.low && value <= input.range.high)) continue;
    outside.add(value);
    ++count;
  }
  if (count == 0) return {};
  if (std::isnan(input.range.low)) {
    return fmt::format("column '{}': {} of {} rows have a value, training had none", input.name, count,
                       rows.size());
  }
  return fmt::format(
      "column '{}': {} of {} rows are outside of training's range {:g} to {:g} ({}); read as they are",
      input.name, count, rows.size(), input.range.low, input.range.high,
      outside.low == outside.high ? fmt::format("{:g}", outside.low)
                                  : fmt::format("{:g} to {:g}", outside.low, outside.high));
}

std::string newly_missing(const InputSchema& input, const Column& column, const std::vector<int64_t>& rows) {
  if (input.missing > 0) return {};
  const auto count = std::count_if(rows.begin(), rows.end(), [&](int64_t row) {
    const auto index = static_cast<size_t>(row);
    return column.numeric ? std::isnan(column.numbers[index]) : column.categories[index].empty();
  });
  if (count == 0) return {};
  return fmt::format(
      "column '{}': {} of {} rows have no value, training had one in every row; predicted as the mean over "
      "its values",
      input.name, count, rows.size());
}

}  // namespace

Departures depart_from(const Schema& schema, const Dataset& dataset, const std::vector<int64_t>& rows,
                       int64_t most_images) {
  Departures result;
  const auto add = [](std::vector<std::string>& lines, std::string line) {
    if (!line.empty()) lines.push_back(std::move(line));
  };
  for (const InputSchema& input : schema.inputs) {
    const auto column = std::find_if(dataset.columns.begin(), dataset.columns.end(),
                                     [&](const Column& each) { return each.name == input.name; });
    if (input.features.empty() || column == dataset.columns.end() || column->numeric != input.numeric)
      continue;
    add(result.refused,
        input.numeric ? outside_of_range(input, *column, rows) : unknown_categories(input, *column, rows));
    add(result.notes, newly_missing(input, *column, rows));
  }
  if (schema.images.looked_at > 0 && dataset.images != nullptr) {
    for (std::string& line : image_departures(schema.images, *dataset.images, rows, most_images))
      result.refused.push_back(std::move(line));
  }
  return result;
}

}  // namespace medfusion::data
