#include "kernels/registry.h"

#include <map>
#include <tuple>

#include "core/error.h"

namespace medfusion::kernels {
namespace {

std::vector<VariantInfo>& infos() {
  static std::vector<VariantInfo> list;
  return list;
}

std::map<std::string, std::string>& overrides() {
  static std::map<std::string, std::string> map;
  return map;
}

thread_local DispatchLog* current_log = nullptr;

}  // namespace

DispatchLog::DispatchLog() : previous_(std::exchange(current_log, this)) {}
DispatchLog::~DispatchLog() { current_log = previous_; }

namespace detail {

void log_dispatch(const char* operation, const char* direction, const std::string& variant) {
  if (current_log != nullptr) current_log->add(fmt::format("{} {} {}", operation, direction, variant));
}

void add_info(VariantInfo info) { infos().push_back(std::move(info)); }

void throw_no_variant(const char* operation, const char* direction, core::DeviceType device,
                      const std::string& wanted) {
  throw NoVariant(fmt::format("{} {}: no variant{} on {} supports these arguments", operation, direction,
                              wanted.empty() ? "" : " '" + wanted + "'", core::name_of(device)));
}

}  // namespace detail

std::vector<VariantInfo> all_variants() {
  auto list = infos();
  std::sort(list.begin(), list.end(), [](const VariantInfo& a, const VariantInfo& b) {
    return std::make_tuple(a.operation, a.direction, -a.priority, a.name) <
           std::make_tuple(b.operation, b.direction, -b.priority, b.name);
  });
  return list;
}

void set_kernel_override(const std::string& operation, const std::string& variant) {
  if (variant.empty()) {
    overrides().erase(operation);
    return;
  }
  const bool known = std::any_of(infos().begin(), infos().end(), [&](const VariantInfo& info) {
    return info.operation == operation && info.name == variant;
  });
  MEDFUSION_CHECK(known, "kernel override: {} has no variant '{}'", operation, variant);
  overrides()[operation] = variant;
}

std::string kernel_override(const std::string& operation) {
  const auto& map = overrides();
  if (map.empty()) return {};
  const auto found = map.find(operation);
  return found == map.end() ? std::string() : found->second;
}

const std::map<std::string, std::string>& kernel_overrides() { return overrides(); }

}  // namespace medfusion::kernels
