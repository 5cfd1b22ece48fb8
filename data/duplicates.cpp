#include "data/duplicates.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>

#include "core/error.h"

namespace medfusion::data {

int64_t ImageSource::encoded_size(int64_t /*row*/) const { return 0; }

uint64_t ImageSource::digest(int64_t row) const {
  const core::Tensor pixels = read(row).to_contiguous();
  return XXH64(pixels.view().data, static_cast<size_t>(pixels.bytes()), 0);
}

namespace {

bool has_image(const Dataset& dataset, int64_t row) {
  return dataset.images != nullptr && dataset.images->present(row);
}

// All columns and the text of a row as bytes; every missing number is written alike.
std::string features_of(const Dataset& dataset, size_t row) {
  std::string key;
  for (const Column& column : dataset.columns) {
    if (column.numeric) {
      const double value = column.numbers[row];
      key += value != value ? std::string("?") : fmt::format("{}", value == 0.0 ? 0.0 : value);
    } else {
      key += column.categories[row];
    }
    key += '\0';
  }
  if (!dataset.texts.empty()) key += dataset.texts[row];
  return key;
}

void match_tables(const Dataset& dataset, DuplicateRule rule, std::vector<int64_t>& first) {
  if (dataset.columns.empty() && dataset.texts.empty()) return;
  std::unordered_map<std::string, int64_t> seen;
  std::vector<std::pair<int64_t, int64_t>> repeats;
  int64_t rows = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (has_image(dataset, row)) continue;
    ++rows;
    const auto [found, added] = seen.emplace(features_of(dataset, static_cast<size_t>(row)), row);
    if (!added) repeats.emplace_back(row, found->second);
  }
  constexpr int64_t kCoincidence = 10;  // one row in ten
  const bool coarse = static_cast<int64_t>(repeats.size()) * kCoincidence > rows;
  if (rule == DuplicateRule::automatic && coarse) return;
  for (const auto& [row, earlier] : repeats) first[static_cast<size_t>(row)] = earlier;
}

void match_images(const Dataset& dataset, std::vector<int64_t>& first) {
  std::unordered_map<int64_t, std::vector<int64_t>> by_size;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (has_image(dataset, row)) by_size[dataset.images->encoded_size(row)].push_back(row);
  }
  for (const auto& [size, rows] : by_size) {
    if (rows.size() < 2) continue;
    std::unordered_map<uint64_t, int64_t> seen;
    for (const int64_t row : rows) {
      const auto [found, added] = seen.emplace(dataset.images->digest(row), row);
      if (!added) first[static_cast<size_t>(row)] = found->second;
    }
  }
}

}  // namespace

std::vector<int64_t> first_equal_rows(const Dataset& dataset, DuplicateRule rule) {
  std::vector<int64_t> first(static_cast<size_t>(dataset.size()));
  std::iota(first.begin(), first.end(), int64_t{0});
  if (rule == DuplicateRule::never) return first;
  match_tables(dataset, rule, first);
  match_images(dataset, first);
  return first;
}

void group_duplicates(Dataset& dataset, DuplicateRule rule) {
  const std::vector<int64_t> first = first_equal_rows(dataset, rule);
  // Union-find over rows: those of a patient, and those that are equal.
  std::vector<int64_t> parent(first.size());
  std::iota(parent.begin(), parent.end(), int64_t{0});
  const auto root = [&](int64_t row) {
    while (parent[static_cast<size_t>(row)] != row) {
      int64_t& up = parent[static_cast<size_t>(row)];
      up = parent[static_cast<size_t>(up)];
      row = up;
    }
    return row;
  };
  const auto join = [&](int64_t a, int64_t b) {
    const int64_t low = std::min(root(a), root(b));
    const int64_t high = std::max(root(a), root(b));
    parent[static_cast<size_t>(high)] = low;
  };
  std::unordered_map<std::string_view, int64_t> row_of_patient;
  int64_t repeats = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const auto index = static_cast<size_t>(row);
    join(row, row_of_patient.emplace(dataset.patients[index], row).first->second);
    if (first[index] == row) continue;
    ++repeats;
    join(row, first[index]);
  }
  if (repeats == 0) return;
  dataset.repeats = first;
  dataset.groups.clear();
  for (int64_t row = 0; row < dataset.size(); ++row) {
    dataset.groups.push_back(dataset.patients[static_cast<size_t>(root(row))]);
  }
  dataset.notes.push_back(fmt::format("{} rows repeat earlier ones: drawn into the same part", repeats));
}

}  // namespace medfusion::data
