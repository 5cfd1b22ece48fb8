// medfusion init: the first configuration of new data.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/initial_config.h"

namespace medfusion::tools {
namespace {

struct InitOptions {
  CommonOptions common;
  NewData data;
  std::string out = "medfusion.toml";
  bool force = false;
};

std::string init_text(const InitialConfig& config, const std::string& file) {
  std::string text;
  for (const InitialChoice& choice : config.choices)
    text += fmt::format("{:<10}{}: {} [{}]\n", choice.what, choice.value, choice.why, choice.key);
  return text +
         fmt::format("wrote {0}\nlook at it and try: medfusion data {0}, then medfusion train {0}\n", file);
}

void init(const InitOptions& options) {
  check_output_file("--out", options.out, ".toml", {options.data.table});
  if (!options.force && std::filesystem::exists(options.out))
    core::throw_input_error({options.out}, "is there already; --force replaces it, --out names another file");
  const InitialConfig config = make_initial_config(options.data, options.out);
  core::write_file(options.out, config.toml);
  nlohmann::ordered_json choices = nlohmann::ordered_json::array();
  for (const InitialChoice& each : config.choices)
    choices.push_back({{"what", each.what}, {"value", each.value}, {"why", each.why}, {"key", each.key}});
  print_result(options.common, {{"config", options.out}, {"choices", choices}},
               init_text(config, options.out));
}

}  // namespace

void add_init_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("init", "Write a configuration for a table and a folder of images");
  const auto options = std::make_shared<InitOptions>();
  add_value(*command, "--table", options->data.table, "CSV", "The table: a row for each image or patient")
      ->required();
  add_value(*command, "--images", options->data.images, "DIR", "Folder of the images that the table names");
  add_value(*command, "--labels", options->data.labels, "NAME,NAME",
            "Columns to predict (default: chosen by name, or the last columns of two values)")
      ->delimiter(',')
      ->allow_extra_args(false);
  add_value(*command, "--out", options->out, "CONFIG", "File to write")->capture_default_str();
  command->add_flag("--force", options->force, "Replace the file");
  add_common_options(*command, options->common);
  command->footer(
      "Prints what it chose, why, and the key that changes it; docs/init.md states the rules.\n"
      "Example:\n"
      "  medfusion init --table table.csv --images photo\n"
      "  medfusion train medfusion.toml");
  command->callback([options, &action] { action = [options] { init(*options); }; });
}

}  // namespace medfusion::tools
