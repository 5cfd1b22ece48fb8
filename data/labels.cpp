#include "data/labels.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "core/nearest.h"
#include "core/random.h"

namespace medfusion::data {
namespace {

// The places of `wanted` in `names`.
std::vector<size_t> indices_of(const char* option, const std::vector<std::string>& wanted,
                               const std::vector<std::string>& names, const std::string& file) {
  check_distinct(option, wanted);
  std::vector<size_t> indices;
  for (const std::string& name : wanted) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      core::throw_input_error({file}, "{}: the data has no '{}'{}", option, name,
                              core::did_you_mean(name, names));
    }
    indices.push_back(static_cast<size_t>(found - names.begin()));
  }
  return indices;
}

// Rows whose labels are known and none of which is true.
int64_t rows_without_label(const core::Tensor& targets) {
  const int64_t count = targets.size(1);
  int64_t rows = 0;
  for (int64_t row = 0; row < targets.size(0); ++row) {
    const float* const first = targets.data<float>() + row * count;
    rows += std::all_of(first, first + count, [](float target) { return target == 0.0F; }) ? 1 : 0;
  }
  return rows;
}

}  // namespace

void check_distinct(const char* option, const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second)
      core::throw_input_error({}, "{}: expected each name once, got '{}' again", option, name);
  }
}

void select_labels(Dataset& dataset, const std::vector<std::string>& wanted, int64_t min_positives,
                   const std::string& file) {
  for (const std::string& label : dataset.labels) {  // a run keeps them as lines
    if (label.find_first_of("\r\n") != std::string::npos)
      core::throw_input_error({file}, "expected labels without line ends, got {}",
                              nlohmann::json(label).dump());
  }
  const size_t count = dataset.labels.size();
  std::vector<size_t> chosen(count);
  std::iota(chosen.begin(), chosen.end(), size_t{0});
  if (!wanted.empty()) chosen = indices_of("data.labels", wanted, dataset.labels, file);
  const float* targets = dataset.targets.data<float>();
  std::vector<int64_t> positives(count, 0);
  for (size_t i = 0; i < static_cast<size_t>(dataset.size()) * count; ++i)
    positives[i % count] += targets[i] == 1.0F;
  std::erase_if(chosen, [&](size_t label) { return positives[label] < min_positives; });
  if (chosen.empty()) {
    core::throw_input_error({file}, "data.min_positives: no label has {} positives", min_positives);
  }
  const core::Tensor selected = core::Tensor::empty({dataset.size(), static_cast<int64_t>(chosen.size())});
  float* out = selected.data<float>();
  for (size_t row = 0; row < static_cast<size_t>(dataset.size()); ++row) {
    for (const size_t label : chosen) *out++ = targets[row * count + label];
  }
  std::vector<std::string> names;
  for (const size_t label : chosen) names.push_back(dataset.labels[label]);
  dataset.targets = selected;
  dataset.labels = std::move(names);
  const int64_t without = dataset.exclusive ? rows_without_label(selected) : 0;
  if (without == 0) return;
  dataset.exclusive = false;
  dataset.notes.push_back(
      fmt::format("{} of {} rows have none of the chosen labels, which are taken as independent", without,
                  dataset.size()));
}

void shuffle_labels(Dataset& dataset) {
  constexpr uint64_t kKey = 0x73687566666C6564U;
  std::map<std::string_view, std::vector<int64_t>> rows_of;
  for (size_t row = 0; row < dataset.patients.size(); ++row)
    rows_of[dataset.patients[row]].push_back(static_cast<int64_t>(row));
  std::vector<const std::vector<int64_t>*> givers;
  for (const auto& [patient, rows] : rows_of) givers.push_back(&rows);
  core::Generator(kKey, 0).shuffle(givers);
  const core::Tensor targets = core::Tensor::empty(dataset.targets.shape());
  auto giver = givers.begin();
  for (const auto& [patient, rows] : rows_of) {
    const std::vector<int64_t>& from = **giver++;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t source = from[i % from.size()];
      targets.slice(0, rows[i], rows[i] + 1).copy_from(dataset.targets.slice(0, source, source + 1));
    }
  }
  dataset.targets = targets;
}

void select_columns(Dataset& dataset, const std::vector<std::string>& wanted, const std::string& file) {
  if (wanted.empty()) return;
  std::vector<std::string> names;
  for (const Column& column : dataset.columns) names.push_back(column.name);
  std::vector<Column> selected;
  for (const size_t index : indices_of("data.table", wanted, names, file))
    selected.push_back(dataset.columns[index]);
  dataset.columns = std::move(selected);
}

}  // namespace medfusion::data
