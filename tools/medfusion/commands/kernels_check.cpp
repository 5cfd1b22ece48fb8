// medfusion kernels check: every case of an operation against the float64 reference.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include "core/runtime.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"
#include "tools/medfusion/commands/kernels.h"

namespace medfusion::tools {
namespace {

struct KernelCheckOptions {
  CommonOptions common;
  std::string operation;
  int64_t schedules = 1;
  bool lines = false;
  int64_t from = 0;
  int64_t smallest = 0;  // 0: all
};

struct Tally {
  int64_t passed = 0, failed = 0, unsupported = 0;
  std::vector<std::string> failures;  // a failed case may have several
};

// One case in one precision; a variant's items are numbered from 0, first all cases in f32, then in bf16.
struct Item {
  kernels::OpCase op_case;
  core::DType precision = core::DType::f32;
};

int64_t elements_of(const kernels::OpCase& op_case) {
  int64_t sum = 0;
  for (const auto* slots : {&op_case.inputs, &op_case.outputs}) {
    for (const kernels::Slot& slot : *slots) {
      if (slot.shape.numel() == 0) return 0;
      sum += slot.shape.numel();
    }
  }
  return sum;
}

// In order of registration, or with `smallest` from the smallest case on, those without work left out.
std::vector<Item> items_of(const std::string& operation, core::Device device, bool smallest) {
  std::vector<kernels::OpCase> cases = kernels::cases_of(operation);
  std::erase_if(cases, [&](const auto& c) { return c.bench || (smallest && elements_of(c) == 0); });
  if (smallest) {
    std::stable_sort(cases.begin(), cases.end(),
                     [](const auto& a, const auto& b) { return elements_of(a) < elements_of(b); });
  }
  std::vector<Item> items;
  for (const core::DType precision : {core::DType::f32, core::DType::bf16}) {
    if (precision == core::DType::bf16 && device.type == core::DeviceType::cpu) continue;
    for (const kernels::OpCase& op_case : cases) items.push_back({op_case, precision});
  }
  return items;
}

// The checks of the variants that the options name, and what is reported of them.
class Checks {
 public:
  Checks(const KernelCheckOptions& options, core::Device device)
      : options_(options),
        device_(device),
        text_(!options.common.quiet && !options.common.json && !options.lines) {}

  void variant(const std::string& operation, const std::string& variant) {
    ++variants_;
    const std::string name = fmt::format("{}/{}", operation, variant);
    const std::vector<Item> items = items_of(operation, device_, options_.smallest > 0);
    if (options_.from > static_cast<int64_t>(items.size())) {
      core::throw_input_error({}, "--from: {} has {} cases", name, items.size());
    }
    std::map<core::DType, Tally> tallies;
    for (size_t i = static_cast<size_t>(options_.from); i < items.size() && lost_.empty(); ++i) {
      Tally& tally = tallies[items[i].precision];
      if (options_.smallest > 0 && tally.passed + tally.failed == options_.smallest) continue;
      check_item(name, variant, items[i], i, items.size(), tally);
    }
    bool taken = false;
    for (const auto& [precision, tally] : tallies) {
      if (tally.passed + tally.failed == 0) continue;
      taken = true;
      report(operation, variant, precision, tally);
    }
    // Of the rest of its cases that may be so.
    if (!taken && options_.from == 0) idle_.push_back(name);
  }

  const std::string& lost() const { return lost_; }

  void finish() {
    if (options_.common.json) print_json(json_);
    if (text_ && json_.size() > 1) print_text(counts("all", "", total_));
    if (variants_ == 0) {
      core::throw_input_error({}, "kernels: {} has no such variant on {}", options_.operation,
                              core::name_of(device_.type));
    }
    if (!lost_.empty()) throw core::Error("kernels check: " + lost_);
    std::vector<std::string> wrong;
    if (total_.failed > 0) {
      wrong.push_back(fmt::format("{} of {} cases failed, the first: {}", total_.failed,
                                  total_.passed + total_.failed, total_.failures.front()));
    }
    for (const std::string& name : idle_) wrong.push_back(name + " supports none of the cases");
    if (!wrong.empty()) throw core::Error(fmt::format("kernels check: {}", fmt::join(wrong, "; ")));
  }

 private:
  // On `sim` a case runs under `schedules` orders of threads, blocks and streams, which must give the same
  // bits.
  void check_item(const std::string& name, const std::string& variant, const Item& item, size_t index,
                  size_t count, Tally& tally) {
    kernels::CheckOptions check{};
    check.seed = static_cast<uint64_t>(options_.common.seed.value_or(20));
    check.device = device_;
    check.precision = item.precision;
    nlohmann::ordered_json line = {{"event", "begin"}, {"variant", name},
                                   {"index", index},   {"precision", core::name_of(item.precision)},
                                   {"count", count},   {"case", item.op_case.name}};
    if (options_.lines) print_line(line);
    const auto start = std::chrono::steady_clock::now();
    bool supported = false;
    const std::vector<std::string> failures =
        options_.schedules > 1
            ? kernels::check_schedules(item.op_case, variant, check, options_.schedules, &supported)
            : kernels::check_parity(item.op_case, variant, check, &supported);
    tally.failures.insert(tally.failures.end(), failures.begin(), failures.end());
    (!failures.empty() ? tally.failed : supported ? tally.passed : tally.unsupported) += 1;
    const std::string loss = failures.empty() ? "" : core::runtime(device_).lost();
    if (options_.lines) {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      line["event"] = "end";
      line["result"] = !loss.empty()       ? "lost"
                       : !failures.empty() ? "failed"
                       : supported         ? "passed"
                                           : "unsupported";
      line["seconds"] = seconds.count();
      line["failures"] = failures;
      print_line(line);
    }
    if (loss.empty()) return;
    lost_ = fmt::format(
        "{} cannot be used any more by this process since {} [{}]: {}; {} of {} cases of it were not checked",
        core::name_of(device_.type), name, item.op_case.name, loss, count - index - 1, count);
  }

  static std::string counts(const std::string& what, const std::string& precision, const Tally& tally) {
    return fmt::format("{:<32} {:<5} {:>3} cases passed, {} not supported{}\n", what, precision, tally.passed,
                       tally.unsupported, tally.failed == 0 ? "" : fmt::format(", {} FAILED", tally.failed));
  }

  void report(const std::string& operation, const std::string& variant, core::DType precision,
              const Tally& tally) {
    total_.passed += tally.passed;
    total_.failed += tally.failed;
    total_.unsupported += tally.unsupported;
    total_.failures.insert(total_.failures.end(), tally.failures.begin(), tally.failures.end());
    if (text_) {
      print_text(counts(fmt::format("{}/{}", operation, variant), core::name_of(precision), tally));
      for (const std::string& failure : tally.failures) print_text("  " + failure + "\n");
    }
    json_.push_back({{"operation", operation},
                     {"variant", variant},
                     {"device", core::name_of(device_.type)},
                     {"precision", core::name_of(precision)},
                     {"cases", tally.passed},
                     {"failed", tally.failed},
                     {"unsupported", tally.unsupported},
                     {"failures", tally.failures}});
  }

  const KernelCheckOptions& options_;
  const core::Device device_;
  const bool text_;
  nlohmann::ordered_json json_ = nlohmann::ordered_json::array();
  Tally total_;                    // of what is reported
  std::vector<std::string> idle_;  // variants that support none of their cases
  std::string lost_;               // why the device cannot be used any more
  int64_t variants_ = 0;
};

void check(const KernelCheckOptions& options) {
  const OperationAndVariant wanted = parse_operation(options.operation);
  use_threads(options.common.threads.value_or(0));
  const core::Device device = use_device(options.common);
  if (options.schedules > 1 && device.type != simulator::kDeviceType) {
    core::throw_input_error({}, "--schedules: only the simulated device has more than one, add --device sim");
  }
  if (options.from > 0 && wanted.variant.empty()) {
    core::throw_input_error({}, "--from: expected OPERATION/VARIANT, whose cases it counts");
  }
  Checks checks(options, device);
  for (const std::string& operation : kernels::operations_with_cases()) {
    if (!wanted.operation.empty() && operation != wanted.operation) continue;
    for (const std::string& variant : kernels::variants_of(operation, device.type)) {
      if (!wanted.variant.empty() && variant != wanted.variant) continue;
      if (checks.lost().empty()) checks.variant(operation, variant);
    }
  }
  checks.finish();
}

}  // namespace

void add_kernels_check_command(CLI::App& kernels, Action& action) {
  CLI::App* command =
      kernels.add_subcommand("check", "Compare variants with the float64 reference on every case");
  auto options = std::make_shared<KernelCheckOptions>();
  add_value(*command, "operation", options->operation, "OPERATION[/VARIANT]",
            "Only this operation, or one variant of it");
  add_number(*command, "--schedules", options->schedules, "N", 1, 100000,
             "With --device sim: repeat each case under this many thread orders and compare bit by bit");
  add_value(*command, "--smallest", options->smallest, "N",
            "Only the N smallest cases that a variant supports, in each precision")
      ->check(CLI::Range(1, 100000));
  CLI::Option* lines = command->add_flag("--lines", options->lines,
                                         "Print a JSON line when a case begins and one when it ends");
  add_value(*command, "--from", options->from, "INDEX",
            "Start at the case with this index, as --lines shows it")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  add_common_options(*command, options->common);
  lines->excludes("--json");
  command->footer("Example:\n  medfusion kernels check layer_norm/simt --device sim --schedules 20");
  command->callback([=, &action] { action = [=] { check(*options); }; });
}

}  // namespace medfusion::tools
