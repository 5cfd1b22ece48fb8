#include "data/image_groups.h"

#include <unordered_map>

#include "core/error.h"

namespace medfusion::data {

std::vector<int64_t> other_images_of(const Dataset& dataset) {
  std::vector<int64_t> result;
  if (dataset.image_groups.empty() || dataset.images == nullptr) return result;
  std::unordered_map<std::string, std::vector<int64_t>> rows_of;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const std::string& name = dataset.image_groups[static_cast<size_t>(row)];
    if (!name.empty() && dataset.images->present(row)) rows_of[name].push_back(row);
  }
  result.assign(dataset.image_groups.size(), -1);
  for (const auto& [name, rows] : rows_of) {
    for (size_t i = 0; rows.size() > 1 && i < rows.size(); ++i)
      result[static_cast<size_t>(rows[i])] = rows[(i + 1) % rows.size()];
  }
  return result;
}

void check_image_groups(const Dataset& dataset) {
  std::unordered_map<std::string, size_t> first_of;
  for (size_t row = 0; row < dataset.image_groups.size(); ++row) {
    const std::string& name = dataset.image_groups[row];
    if (name.empty()) continue;
    const size_t first = first_of.try_emplace(name, row).first->second;
    if (dataset.patients[first] == dataset.patients[row]) continue;
    core::throw_input_error(
        {}, "data.group_images: expected the rows of '{}' to be of one patient, got {} and {}", name,
        dataset.patients[first], dataset.patients[row]);
  }
}

}  // namespace medfusion::data
