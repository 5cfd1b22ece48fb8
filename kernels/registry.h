// Kernel variants register themselves; dispatch() chooses one by the arguments.
//
// An operation's contract is an argument struct per direction:
//   struct SoftmaxForward {
//     static constexpr const char* kOperation = "softmax";
//     static constexpr const char* kDirection = "forward";
//     core::View x, y; ...
//     auto tensors() const { return std::array{&x, &y}; }  // whose type and layout variants may restrict
//   };
// A variant is one file with one registration per direction:
//   const Register<SoftmaxForward> registered("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run);
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/view.h"
#include "kernels/takes.h"

namespace medfusion::kernels {

inline constexpr core::DeviceType kCpu = core::DeviceType::cpu;

// What a variant asks of its arguments: the words for lists, and whether it holds. Arguments are valid
// already. Those that suit any operation are in kernels/takes.h.
template <class Args>
struct Requirement {
  std::string text;
  std::function<bool(const Args& args)> holds;

  Requirement(std::string words, std::function<bool(const Args& args)> check)
      : text(std::move(words)), holds(std::move(check)) {}
  Requirement(const TensorRequirement& shared)  // NOLINT(google-explicit-constructor): lists mix both
      : text(shared.text),
        holds([check = shared.holds](const Args& args) { return check(args.tensors()); }) {}
};

template <class Args>
struct Variant {
  std::string name;  // "reference", "eigen", "cpu", "simt", "mma", ...
  core::DeviceType device;
  int priority;                          // dispatch looks at higher ones first; the reference has 0
  std::vector<Requirement<Args>> takes;  // what it can run
  void (*run)(const Args& args);
  std::optional<Requirement<Args>> should;  // when it is taken without being named; nothing: always

  bool supports(const Args& args) const {
    return std::all_of(takes.begin(), takes.end(), [&](const auto& each) { return each.holds(args); });
  }
  bool suits(const Args& args) const { return !should || should->holds(args); }
  std::string text() const {
    std::string text;
    for (const auto& each : takes) text += (text.empty() ? "" : ", ") + each.text;
    return should ? text + "; chosen automatically " + should->text : text;
  }
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

// While one of these lives, it lists what dispatch runs on this thread, in order: "operation direction
// variant", those that a variant dispatches itself included. Only the newest of a thread lists.
class DispatchLog {
 public:
  DispatchLog();
  ~DispatchLog();
  DispatchLog(const DispatchLog&) = delete;
  DispatchLog& operator=(const DispatchLog&) = delete;
  // Since the call before.
  std::vector<std::string> take() { return std::exchange(entries_, {}); }
  void add(std::string entry) { entries_.push_back(std::move(entry)); }

 private:
  DispatchLog* previous_;
  std::vector<std::string> entries_;
};

namespace detail {
void add_info(VariantInfo info);
// To the log of this thread, where there is one.
void log_dispatch(const char* operation, const char* direction, const std::string& variant);
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

// Registers a variant when a static of it is made.
template <class Args>
struct Register {
  Register(const char* name, core::DeviceType device, int priority, std::vector<Requirement<Args>> takes,
           void (*run)(const Args& args), std::optional<Requirement<Args>> should = {}) {
    Variant<Args> variant{name, device, priority, std::move(takes), run, std::move(should)};
    detail::add_info({Args::kOperation, Args::kDirection, name, device, priority, variant.text()});
    auto& list = variants<Args>();
    const auto place =
        std::find_if(list.begin(), list.end(), [&](const auto& other) { return other.priority < priority; });
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
    suited = variant.suits(args);
    if (suited || chosen == nullptr) chosen = &variant;
  }
  if (chosen == nullptr) detail::throw_no_variant(Args::kOperation, Args::kDirection, device, wanted);
  detail::log_dispatch(Args::kOperation, Args::kDirection, chosen->name);
  chosen->run(args);
}

}  // namespace medfusion::kernels
