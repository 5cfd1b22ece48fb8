// medfusion kernels inspect: what the compiler knows of the GPU kernels.
#include <fmt/format.h>

#include <memory>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "kernels/gpu/device_type.h"
#include "kernels/registry.h"
#include "tools/medfusion/commands/kernels.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/workshop/card_floor.h"
#include "tools/medfusion/workshop/kernel_report.h"
#include "tools/medfusion/workshop/static_check.h"

namespace medfusion::tools {
namespace {

struct InspectOptions {
  std::string what, architecture, json, card, file;
  bool check = false, markdown = false;
};

std::vector<ShippedVariant> shipped_variants() {
  std::vector<ShippedVariant> result;
  std::set<std::pair<std::string, std::string>> seen;
  for (const auto& info : kernels::all_variants()) {
    if (info.device != kernels::cuda::kDeviceType || !seen.emplace(info.operation, info.name).second)
      continue;
    result.push_back({info.operation, info.name});
  }
  return result;
}

// ctest counts lines that start so as skipped tests (tests/CMakeLists.txt).
void say_skipped(const std::string& what) { print_text("SKIPPED: " + what + "\n"); }

void check(const KernelReport& report, bool own) {
  if (report.kernels.empty()) {
    return say_skipped(
        "no machine code for GPUs to check: this build was made without nvcc, or compresses it");
  }
  const std::vector<std::string> violations =
      static_violations(report.kernels, own ? shipped_variants() : std::vector<ShippedVariant>());
  for (const std::string& each : violations) print_text(each + "\n");
  if (!violations.empty()) {
    throw core::Error(fmt::format("kernels inspect --check: {} violations", violations.size()));
  }
  print_text(fmt::format("{} kernels checked, {} aligned paths among them; instructions read from {}\n",
                         report.kernels.size(), aligned_paths(report.kernels).size(),
                         report.from_sass ? "the machine code" : "PTX"));
  if (!report.has_spills && !report.from_sass) {
    say_skipped("spills: neither the report of ptxas nor cuobjdump and nvdisasm are at hand");
  }
}

void inspect(const InspectOptions& options) {
  const bool own = options.file.empty();
  check_output_file("--json", options.json, ".json", {options.file});
  KernelReport report = read_kernel_report(own ? engine_library() : std::filesystem::path(options.file));
  if (options.check) return check(report, own);
  const auto write = [&](nlohmann::ordered_json json) {
    if (options.json.empty()) return;
    if (!options.card.empty()) json["floors"] = floors_json(options.what, options.card);
    core::write_file(options.json, to_text(json, 2) + "\n");
  };
  if (report.kernels.empty() && own && !options.card.empty()) {  // that asks for no machine code
    parse_operation(options.what);
    write({});
    return print_text(floors_table(options.what, options.card));
  }
  if (report.kernels.empty()) {
    if (own && !options.what.empty())
      parse_operation(options.what);  // a wrong name is what the user can mend
    throw core::Error(
        fmt::format("{} holds no machine code for GPUs to read: it was built without nvcc, or compresses it",
                    own ? "this build" : options.file));
  }
  select(report, options.what, options.architecture);
  if (report.kernels.empty()) {
    if (own) parse_operation(options.what);  // throws where there is nothing of that name
    core::throw_input_error({}, "kernels inspect: no kernel of '{}'{}", options.what,
                            options.architecture.empty() ? "" : " for " + options.architecture);
  }
  write(as_json(report));
  if (options.markdown) return print_text(as_markdown(report));
  print_text(as_table(report));
  if (!options.card.empty()) print_text("\n" + floors_table(options.what, options.card));
}

}  // namespace

void add_kernels_inspect_command(CLI::App& kernels, Action& action) {
  CLI::App* command = kernels.add_subcommand("inspect", "Show what the compiler knows of the GPU kernels");
  const auto options = std::make_shared<InspectOptions>();
  add_value(*command, "kernel", options->what, "OPERATION[/VARIANT]",
            "Only the kernels of an operation, or of one variant of it");
  add_value(*command, "--arch", options->architecture, "NAME",
            "Only the code for one architecture, such as sm_90a");
  add_value(*command, "--json", options->json, "FILE", "Also write the report to a file as JSON");
  add_value(*command, "--card", options->card, "NAME",
            "Also show the least time of the benchmark cases on a card, by its data sheet")
      ->check(one_of(card_names()));
  command->add_flag("--check", options->check,
                    "Check all kernels against their requirements; fail if one is not met");
  command->add_flag("--markdown", options->markdown, "Print the page docs/results/static.md");
  command->add_option("--library", options->file)->group("");  // hidden
  command->footer("Example:\n  medfusion kernels inspect layer_norm/simt --arch sm_90");
  command->callback([options, &action] { action = [options] { inspect(*options); }; });
}

}  // namespace medfusion::tools
