// medfusion kernels check: every case of an operation against the float64 reference.
#include <algorithm>
#include <map>

#include "core/runtime.h"
#include "kernels/check.h"
#include "kernels/registry.h"
#include "tools/medfusion/command_kernels.h"

namespace medfusion::tools {
namespace {

struct KernelCheckOptions {
  CommonOptions common;
  std::string operation;
  int64_t schedules = 1;
};

struct Tally {
  int64_t cases = 0, unsupported = 0;
  std::vector<std::string> failures;
};

// One variant on all cases of its operation that it supports in that precision. On `sim` each case runs under
// `schedules` orders of threads, blocks and streams, which must give the same bits.
Tally check_variant(const std::string& operation, const std::string& variant, core::Device device,
                    core::DType precision, const KernelCheckOptions& options) {
  Tally tally;
  for (const kernels::OpCase& op_case : kernels::cases_of(operation)) {
    if (op_case.bench) continue;
    kernels::CheckOptions check{};
    check.seed = static_cast<uint64_t>(options.common.seed.value_or(20));
    check.device = device;
    check.precision = precision;
    bool supported = false;
    const auto failures = options.schedules > 1 ? kernels::check_schedules(op_case, variant, check,
                                                                           options.schedules, &supported)
                                                : kernels::check_parity(op_case, variant, check, &supported);
    tally.failures.insert(tally.failures.end(), failures.begin(), failures.end());
    (supported ? tally.cases : tally.unsupported) += 1;
  }
  return tally;
}

void check(const KernelCheckOptions& options) {
  const OperationAndVariant wanted = parse_operation(options.operation);
  use_threads(options.common.threads.value_or(0));
  use_device(options.common);
  const core::Device device = chosen_device();
  if (options.schedules > 1 && device.type != core::DeviceType::sim) {
    core::throw_input_error({}, "--schedules: only the simulated device has more than one, add --device sim");
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::vector<std::string> failures;
  int64_t variants = 0;
  const bool loud = !options.common.quiet && !options.common.json;
  for (const std::string& operation : kernels::operations_with_cases()) {
    if (!wanted.operation.empty() && operation != wanted.operation) continue;
    for (const std::string& variant : kernels::variants_of(operation, device.type)) {
      if (!wanted.variant.empty() && variant != wanted.variant) continue;
      ++variants;
      const std::string name = fmt::format("{}/{}", operation, variant);
      bool taken = false;
      for (const core::DType precision : {core::DType::f32, core::DType::bf16}) {
        if (precision == core::DType::bf16 && device.type == core::DeviceType::cpu) continue;
        const Tally tally = check_variant(operation, variant, device, precision, options);
        if (tally.cases == 0 && tally.failures.empty()) continue;
        taken = true;
        failures.insert(failures.end(), tally.failures.begin(), tally.failures.end());
        if (loud) {
          print_text(fmt::format("{:<32} {:<5} {:>3} cases passed, {} not supported{}\n", name,
                                 core::name_of(precision), tally.cases, tally.unsupported,
                                 tally.failures.empty() ? "" : "  FAILED"));
          for (const std::string& failure : tally.failures) print_text("  " + failure + "\n");
        }
        json.push_back({{"operation", operation},
                        {"variant", variant},
                        {"device", core::name_of(device.type)},
                        {"precision", core::name_of(precision)},
                        {"cases", tally.cases},
                        {"unsupported", tally.unsupported},
                        {"failures", tally.failures}});
      }
      if (!taken) failures.push_back(fmt::format("{} supports none of the cases", name));
    }
  }
  if (options.common.json) print_json(json);
  if (variants == 0) {
    core::throw_input_error({}, fmt::format("kernels: {} has no such variant on {}", options.operation,
                                            core::name_of(device.type)));
  }
  if (!failures.empty()) {
    throw core::Error(fmt::format("kernels check: {} failure{}, the first: {}", failures.size(),
                                  failures.size() == 1 ? "" : "s", failures.front()));
  }
}

}  // namespace

void add_kernels_check_command(CLI::App& kernels, Action& action) {
  CLI::App* command =
      kernels.add_subcommand("check", "Compare variants with the float64 reference on every case");
  auto options = std::make_shared<KernelCheckOptions>();
  command->add_option("operation", options->operation, "Only this operation, or one variant of it")
      ->type_name("OPERATION[/VARIANT]");
  command
      ->add_option("--schedules", options->schedules,
                   "With --device sim: repeat each case under this many orders and compare bit for bit")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  add_common_options(*command, options->common);
  command->footer("Example:\n  medfusion kernels check layer_norm/simt --device sim --schedules 20");
  command->callback([=, &action] { action = [=] { check(*options); }; });
}

}  // namespace medfusion::tools
