// Kernel variants register themselves; dispatch() chooses one by the arguments.
//
// An operation's contract is an argument struct per direction:
//   struct SoftmaxForward {
//     static constexpr const char* kOperation = "softmax";
//     static constexpr const char* kDirection = "forward";
//     core::View x, y; ...
//   };
// A variant is one file with one registration per direction:
//   const Register<SoftmaxForward> registered({"cpu", core::DeviceType::cpu, 10, supports, run}, "f32");
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

template <class Args>
struct Variant {
  std::string name;  // "reference", "eigen", "cpu", "simt", "mma", ...
  core::DeviceType device;
  int priority;                        // dispatch looks at higher ones first; the reference has 0
  bool (*supports)(const Args& args);  // dtypes, layouts and sizes it can take; arguments are valid already
  void (*run)(const Args& args);
  // Whether it should be taken without being named, of those that supports() holds for; null: always.
  bool (*suits)(const Args& args) = nullptr;
};

// What is known of one variant without its argument type: for lists.
struct VariantInfo {
  std::string operation, direction, name;
  core::DeviceType device;
  int priority;
  std::string takes;
};

// No variant takes the arguments. Checks skip a case for it; to everybody else it is a failure at run time.
class NoVariant : public core::Error {
 public:
  using core::Error::Error;
};

// Every registered variant, sorted by operation, direction and falling priority.
std::vector<VariantInfo> all_variants();

// Makes dispatch of `operation` take the variant of that name where it supports the arguments (`--kernel
// attention=mma`). An empty variant removes the override. Throws core::Error where no such variant exists.
void set_kernel_override(const std::string& operation, const std::string& variant);
std::string kernel_override(const std::string& operation);
// {operation: variant} of all overrides.
const std::map<std::string, std::string>& kernel_overrides();

namespace detail {
void add_info(VariantInfo info);
// Throws NoVariant, for a dispatch that found nothing.
[[noreturn]] void throw_no_variant(const char* operation, const char* direction, core::DeviceType device,
                                   const std::string& wanted);
}  // namespace detail

// The variants of one argument struct, highest priority first.
template <class Args>
std::vector<Variant<Args>>& variants() {
  static std::vector<Variant<Args>> list;
  return list;
}

template <class Args>
struct Register {
  // `takes` says in words what supports() asks for: dtypes, layout, sizes, compute capability.
  explicit Register(Variant<Args> variant, const char* takes = "") {
    detail::add_info(
        {Args::kOperation, Args::kDirection, variant.name, variant.device, variant.priority, takes});
    auto& list = variants<Args>();
    const auto place =
        std::find_if(list.begin(), list.end(), [&](const auto& v) { return v.priority < variant.priority; });
    list.insert(place, std::move(variant));
  }
};

// Whether any variant for the device takes the arguments.
template <class Args>
bool is_supported(const Args& args, core::DeviceType device) {
  const auto& list = variants<Args>();
  return std::any_of(list.begin(), list.end(),
                     [&](const auto& v) { return v.device == device && v.supports(args); });
}

// Runs one of the device's variants that support the arguments: the one that `wanted` names; without
// `wanted`, the one that an override names, else the first that suits, else the first. Throws NoVariant where
// there is none.
template <class Args>
void dispatch(const Args& args, core::DeviceType device, const std::string& wanted = {}) {
  const std::string forced = wanted.empty() ? kernel_override(Args::kOperation) : std::string();
  const Variant<Args>* chosen = nullptr;
  bool suited = false;
  for (const auto& variant : variants<Args>()) {
    if (variant.device != device || (!wanted.empty() && variant.name != wanted)) continue;
    if (!variant.supports(args)) continue;
    if (!forced.empty() && variant.name == forced) {
      chosen = &variant;
      break;
    }
    if (suited) continue;
    suited = variant.suits == nullptr || variant.suits(args);
    if (suited || chosen == nullptr) chosen = &variant;
  }
  if (chosen == nullptr) detail::throw_no_variant(Args::kOperation, Args::kDirection, device, wanted);
  chosen->run(args);
}

}  // namespace medfusion::kernels
