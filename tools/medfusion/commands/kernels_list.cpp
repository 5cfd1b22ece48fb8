// medfusion kernels list: what is registered.
#include <algorithm>
#include <map>
#include <set>

#include "core/runtime.h"
#include "kernels/registry.h"
#include "kernels/workshop/op_case.h"
#include "tools/medfusion/commands/kernels.h"

namespace medfusion::tools {
namespace {

using kernels::VariantInfo;

struct ListOptions {
  CommonOptions common;
  std::string operation;
};

// One variant with all its directions.
struct VariantRow {
  std::string operation, variant, device, directions;
  int priority = 0;
  std::string takes;
};

std::vector<VariantRow> rows_of(const std::string& operation) {
  std::vector<VariantRow> rows;
  for (const VariantInfo& info : kernels::all_variants()) {
    if (!operation.empty() && info.operation != operation) continue;
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const VariantRow& row) {
      return row.operation == info.operation && row.variant == info.name &&
             row.device == core::name_of(info.device);
    });
    if (found == rows.end()) {
      rows.push_back(
          {info.operation, info.name, core::name_of(info.device), info.direction, info.priority, info.takes});
      continue;
    }
    found->directions += ", " + info.direction;
    // What directions say alike is said once.
    if (info.takes != found->takes) found->takes += fmt::format("; {}: {}", info.direction, info.takes);
  }
  return rows;
}

bool present(const std::string& device) {
  const auto type = device == "cpu"    ? core::DeviceType::cpu
                    : device == "cuda" ? core::DeviceType::cuda
                                       : core::DeviceType::sim;
  try {
    core::runtime({type, 0});
    return true;
  } catch (const core::Error&) {
    return false;
  }
}

void list(const ListOptions& options) {
  const std::vector<VariantRow> rows = rows_of(options.operation);
  if (rows.empty()) throw_unknown_operation(options.operation);
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  size_t width = 9;
  for (const VariantRow& row : rows) width = std::max(width, row.operation.size());
  size_t directions = 10;
  for (const VariantRow& row : rows) directions = std::max(directions, row.directions.size());
  std::string text = fmt::format("{:<{}}  {:<12} {:<6} {:>8}  {:<{}}  {}\n", "operation", width, "variant",
                                 "device", "priority", "directions", directions, "takes");
  std::map<std::string, bool> devices;
  for (const VariantRow& row : rows) {
    devices[row.device] = present(row.device);
    json.push_back({{"operation", row.operation},
                    {"variant", row.variant},
                    {"device", row.device},
                    {"present", devices[row.device]},
                    {"priority", row.priority},
                    {"directions", row.directions},
                    {"takes", row.takes}});
    text += fmt::format("{:<{}}  {:<12} {:<6} {:>8}  {:<{}}  {}\n", row.operation, width, row.variant,
                        row.device, row.priority, row.directions, directions, row.takes);
  }
  for (const auto& [device, there] : devices) {
    if (!there) text += fmt::format("{}: compiled, but this machine has no such device\n", device);
  }
  text +=
      "Dispatch takes the variant of the highest priority that supports and suits the arguments, or the "
      "one that --kernel names; the reference is f64.\n";
  if (options.common.json) {
    print_json(json);
  } else {
    print_text(text);
  }
}

}  // namespace

void throw_unknown_operation(const std::string& operation) {
  std::set<std::string> names;
  for (const VariantInfo& info : kernels::all_variants()) names.insert(info.operation);
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  core::throw_input_error({}, fmt::format("kernels: expected one of {}, got '{}'", known, operation));
}

OperationAndVariant parse_operation(const std::string& text) {
  const size_t slash = text.find('/');
  OperationAndVariant result{text.substr(0, slash), slash == std::string::npos ? "" : text.substr(slash + 1)};
  const auto known = kernels::all_variants();
  const bool operation = std::any_of(known.begin(), known.end(), [&](const VariantInfo& info) {
    return info.operation == result.operation;
  });
  if (!text.empty() && !operation) throw_unknown_operation(result.operation);
  const bool variant =
      slash == std::string::npos || std::any_of(known.begin(), known.end(), [&](const auto& info) {
        return info.operation == result.operation && info.name == result.variant;
      });
  if (!variant) {
    core::throw_input_error({}, fmt::format("kernels: {} has no variant '{}' (see medfusion kernels list {})",
                                            result.operation, result.variant, result.operation));
  }
  return result;
}

void add_kernels_list_command(CLI::App& kernels, Action& action) {
  CLI::App* command = kernels.add_subcommand("list", "Show operations, variants and devices");
  auto options = std::make_shared<ListOptions>();
  command->add_option("operation", options->operation, "Only this operation")->type_name("OPERATION");
  add_common_options(*command, options->common);
  command->footer("Example:\n  medfusion kernels list attention");
  command->callback([=, &action] { action = [=] { list(*options); }; });
}

}  // namespace medfusion::tools
