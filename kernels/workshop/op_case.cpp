#include "kernels/workshop/op_case.h"

#include <set>
#include <string_view>

namespace medfusion::kernels {
namespace {

std::vector<std::function<std::vector<OpCase>()>>& makers() {
  static std::vector<std::function<std::vector<OpCase>()>> list;
  return list;
}

}  // namespace

SlotSlice slice_of(const Slot& slot) {
  const int rank = slot.shape.rank();
  const int64_t size = rank == 0 ? 1 : slot.shape[rank - 1];
  switch (slot.layout) {
    case Layout::channel_slice:
      return {3, size + 8};
    case Layout::piece_slice:
      return {16, size + 40};
    case Layout::middle_third:
      return {size, 3 * size};
    case Layout::contiguous:
    case Layout::misaligned:
      break;
  }
  return {0, size};
}

core::View CaseTensors::view(std::string text) {
  const auto take = [&](std::string_view ending) {
    const bool there = text.ends_with(ending);
    if (there) text.resize(text.size() - ending.size());
    return there;
  };
  const bool optional = take("?"), swap = take("^T");
  if (optional && !tensors_.contains(text)) return {};
  const core::Tensor& tensor = find(text);
  return (swap ? tensor.transpose(-2, -1) : tensor).view();
}

RegisterCases::RegisterCases(std::function<std::vector<OpCase>()> make) {
  makers().push_back(std::move(make));
}

std::vector<OpCase> cases_of(const std::string& operation) {
  std::vector<OpCase> result;
  for (const auto& make : makers()) {
    for (auto& op_case : make()) {
      if (op_case.operation == operation) result.push_back(std::move(op_case));
    }
  }
  return result;
}

std::vector<std::string> operations_with_cases() {
  std::set<std::string> names;
  for (const auto& make : makers()) {
    for (const auto& op_case : make()) names.insert(op_case.operation);
  }
  return {names.begin(), names.end()};
}

}  // namespace medfusion::kernels
