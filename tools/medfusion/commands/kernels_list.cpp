// medfusion kernels list: what is registered.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/nearest.h"
#include "core/runtime.h"
#include "kernels/registry.h"
#include "kernels/workshop/op_case.h"
#include "tools/medfusion/commands/kernels.h"
#include "tools/medfusion/config/text_file.h"

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

// Words in lines of at most `width` characters.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines(1);
  for (const std::string_view word : split(text, ' ')) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    lines.back().append(lines.back().empty() ? "" : " ").append(word);
  }
  return lines;
}

// A line for each variant with all its devices; what it takes goes on below.
std::string list_text(const std::vector<VariantInfo>& rows) {
  constexpr size_t kWidth = 120;
  const auto head = [](const std::string& operation, const std::string& variant, const std::string& devices,
                       const std::string& priority) {
    return fmt::format("{:<14}{:<11}{:<11}{:>8}  ", operation, variant, devices, priority);
  };
  std::string text = head("operation", "variant", "devices", "priority") + "takes\n";
  const auto same = [](const VariantInfo& a, const VariantInfo& b) {
    return std::tie(a.operation, a.name, a.priority, a.direction, a.takes) ==
           std::tie(b.operation, b.name, b.priority, b.direction, b.takes);
  };
  for (size_t first = 0; first < rows.size();) {
    std::vector<std::string> devices;
    const VariantInfo& row = rows[first];
    for (; first < rows.size() && same(rows[first], row); ++first)
      devices.emplace_back(rows[first].device.name());
    std::ranges::sort(devices);
    std::string start = head(row.operation, row.name, fmt::format("{}", fmt::join(devices, ", ")),
                             std::to_string(row.priority));
    const std::string directions = row.direction == "backward, forward" ? "" : row.direction + ": ";
    for (const std::string& line : wrapped(directions + row.takes, kWidth - start.size())) {
      text += start + line + "\n";
      start.assign(start.size(), ' ');
    }
  }
  return text;
}

void list(const ListOptions& options) {
  const std::vector<VariantInfo> rows = rows_of(options.operation);
  if (rows.empty()) throw_unknown_operation(options.operation);
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::map<core::DeviceType, bool> devices;
  for (const VariantInfo& row : rows) {
    devices[row.device] = core::is_present({row.device, 0});
    json.push_back({{"operation", row.operation},
                    {"variant", row.name},
                    {"device", row.device.name()},
                    {"present", devices[row.device]},
                    {"priority", row.priority},
                    {"directions", row.direction},
                    {"takes", row.takes}});
  }
  std::string text = list_text(rows);
  for (const auto& [device, there] : devices) {
    if (!there) text += fmt::format("{}: compiled, but this machine has no such device\n", device.name());
  }
  text +=
      "A variant has forward and backward, unless its line names other directions. Dispatch takes the "
      "variant\n"
      "of the highest priority that supports and suits the arguments, or the one that --kernel names; the\n"
      "reference is f64.\n";
  if (options.common.json) return print_json(json);
  print_text(text);
}

}  // namespace

void throw_unknown_operation(const std::string& operation) {
  std::set<std::string> known;
  for (const VariantInfo& info : kernels::all_variants()) known.insert(info.operation);
  const std::vector<std::string> names(known.begin(), known.end());
  core::throw_input_error({}, "kernels: expected one of {}, got '{}'{}", fmt::join(names, ", "), operation,
                          core::did_you_mean(operation, names));
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
    core::throw_input_error({}, "kernels: {} has no variant '{}'{} (see medfusion kernels list {})",
                            result.operation, result.variant,
                            core::did_you_mean(result.variant, std::vector(known.begin(), known.end())),
                            result.operation);
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
