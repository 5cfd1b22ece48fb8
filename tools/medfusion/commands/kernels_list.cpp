// medfusion kernels list: what is registered.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

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

// Each variant once, with all its directions.
std::vector<VariantInfo> rows_of(const std::string& operation) {
  std::vector<VariantInfo> rows;
  for (const VariantInfo& info : kernels::all_variants()) {
    if (!operation.empty() && info.operation != operation) continue;
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const VariantInfo& row) {
      return row.operation == info.operation && row.name == info.name && row.device == info.device;
    });
    if (found == rows.end()) {
      rows.push_back(info);
      continue;
    }
    found->direction += ", " + info.direction;
    // What directions say alike is said once.
    if (info.takes != found->takes) found->takes += fmt::format("; {}: {}", info.direction, info.takes);
  }
  return rows;
}

void list(const ListOptions& options) {
  const std::vector<VariantInfo> rows = rows_of(options.operation);
  if (rows.empty()) throw_unknown_operation(options.operation);
  size_t width = 9, directions = 10;
  for (const VariantInfo& row : rows) {
    width = std::max(width, row.operation.size());
    directions = std::max(directions, row.direction.size());
  }
  const auto line = [&](const auto&... cells) {
    return fmt::format("{:<{}}  {:<12} {:<6} {:>8}  {:<{}}  {}\n", cells...);
  };
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::string text =
      line("operation", width, "variant", "device", "priority", "directions", directions, "takes");
  std::map<core::DeviceType, bool> devices;
  for (const VariantInfo& row : rows) {
    devices[row.device] = core::is_present({row.device, 0});
    const std::string device = row.device.name();
    json.push_back({{"operation", row.operation},
                    {"variant", row.name},
                    {"device", device},
                    {"present", devices[row.device]},
                    {"priority", row.priority},
                    {"directions", row.direction},
                    {"takes", row.takes}});
    text += line(row.operation, width, row.name, device, row.priority, row.direction, directions, row.takes);
  }
  for (const auto& [device, there] : devices) {
    if (!there)
      text += fmt::format("{}: compiled, but this machine has no such device\n", core::name_of(device));
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
  std::set<std::string> known;
  for (const VariantInfo& info : kernels::all_variants()) known.insert(info.operation);
  core::throw_input_error({}, "kernels: expected one of {}, got '{}'", fmt::join(known, ", "), operation);
}

OperationAndVariant parse_operation(const std::string& text) {
  const size_t slash = text.find('/');
  OperationAndVariant result{text.substr(0, slash), slash == std::string::npos ? "" : text.substr(slash + 1)};
  std::set<std::string> known;
  for (const VariantInfo& info : kernels::all_variants()) {
    if (info.operation == result.operation) known.insert(info.name);
  }
  if (!text.empty() && known.empty()) throw_unknown_operation(result.operation);
  if (slash != std::string::npos && !known.contains(result.variant)) {
    core::throw_input_error({}, "kernels: {} has no variant '{}' (see medfusion kernels list {})",
                            result.operation, result.variant, result.operation);
  }
  return result;
}

void add_kernels_list_command(CLI::App& kernels, Action& action) {
  CLI::App* command = kernels.add_subcommand("list", "Show operations, variants and devices");
  auto options = std::make_shared<ListOptions>();
  add_value(*command, "operation", options->operation, "OPERATION", "Only this operation");
  add_common_options(*command, options->common);
  command->footer("Example:\n  medfusion kernels list attention");
  command->callback([=, &action] { action = [=] { list(*options); }; });
}

}  // namespace medfusion::tools
