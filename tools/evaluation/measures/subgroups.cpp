#include "tools/evaluation/measures/subgroups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/nearest.h"
#include "data/statistics/samples.h"

namespace medfusion::tools {
namespace {

// Distinct inner quartiles of the values, in the way of "nearest rank".
std::vector<double> quartiles(std::vector<double> values) {
  std::vector<double> cuts;
  std::sort(values.begin(), values.end());
  for (const size_t quarter : {1, 2, 3}) {
    if (values.empty()) break;
    const double cut = data::nearest_rank(values, quarter, 4);
    if (cut > values.front() && (cuts.empty() || cut > cuts.back())) cuts.push_back(cut);
  }
  return cuts;
}

std::string band_name(const std::vector<double>& cuts, size_t band) {
  if (cuts.empty()) return "all";
  if (band == 0) return fmt::format("below {:g}", cuts.front());
  if (band == cuts.size()) return fmt::format("{:g} or more", cuts.back());
  return fmt::format("{:g} to below {:g}", cuts[band - 1], cuts[band]);
}

}  // namespace

Grouping group_rows(const data::Column& column, const std::vector<int64_t>& rows,
                    const std::vector<double>& cuts) {
  constexpr size_t kMissing = SIZE_MAX;  // sorts last
  std::map<std::pair<size_t, std::string>, std::vector<int64_t>> groups;
  std::vector<double> bounds = cuts;
  if (column.numeric && cuts.empty()) {
    std::vector<double> values;
    for (const int64_t row : rows) {
      const double value = column.numbers.at(static_cast<size_t>(row));
      if (!std::isnan(value)) values.push_back(value);
    }
    bounds = quartiles(values);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    std::pair<size_t, std::string> key{kMissing, "missing"};
    if (column.numeric && !std::isnan(column.numbers.at(row))) {
      const auto band = static_cast<size_t>(
          std::upper_bound(bounds.begin(), bounds.end(), column.numbers[row]) - bounds.begin());
      key = {band, band_name(bounds, band)};
    } else if (!column.numeric && !column.categories.at(row).empty()) {
      key = {0, column.categories[row]};
    }
    groups[key].push_back(static_cast<int64_t>(i));
  }
  Grouping result{column.name, {}};
  for (auto& [key, members] : groups) result.groups.push_back({key.second, std::move(members)});
  return result;
}

bool same_name(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::vector<const data::Column*> subgroup_columns(const std::vector<data::Column>& columns,
                                                  const std::vector<std::string>& wanted) {
  const std::vector<std::string> usual{"sex", "age", "view"};
  std::vector<std::string> names;
  for (const data::Column& column : columns) names.push_back(column.name);
  std::vector<const data::Column*> result;
  for (const std::string& name : wanted.empty() ? usual : wanted) {
    const auto found = std::find_if(columns.begin(), columns.end(),
                                    [&](const data::Column& column) { return same_name(column.name, name); });
    if (found != columns.end()) {
      result.push_back(&*found);
    } else if (!wanted.empty()) {
      core::throw_input_error({}, "evaluation.subgroups: expected columns of the data, got '{}'{}", name,
                              core::did_you_mean(name, names));
    }
  }
  return result;
}

}  // namespace medfusion::tools
