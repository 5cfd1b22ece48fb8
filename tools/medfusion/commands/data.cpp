// medfusion data: what a configuration reads, before anything is trained.
#include <fmt/format.h>

#include <memory>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/config/options.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/schema_file.h"
#include "tools/medfusion/run/skipped_rows.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

struct DataCommand {
  CommonOptions common;
  ConfigOptions config;
};

// Why train would refuse the data.
std::vector<std::string> refusals(const Config& config, const data::Dataset& dataset,
                                  const data::Splits& splits) {
  try {
    refuse_missing_images(config, dataset);
    refuse_leaks(config, dataset, splits);
    return {};
  } catch (const core::InputError& error) {
    return {fmt::format("train refuses this: {}", error.what())};
  }
}

void show_data(const DataCommand& options) {
  Config config = read_config(options.config, options.common).build();
  config.features.bootstrap = 0;  // of stage one: how stable its choice is shows in features.json only
  use_threads(config.threads);
  if (config.data.format == data::DataFormat::none) {
    core::throw_input_error({options.config.file}, "data.format: expected data, got \"none\"");
  }
  const data::DataOptions data_options = to_data_options(config);
  data::Dataset dataset = open_data(config, data_options);
  const data::Splits splits = data::make_splits(data_options, dataset);
  for (const std::string& note : text_notes(config, dataset, splits.train)) dataset.notes.push_back(note);
  const Preprocessing preprocessing = Preprocessing::fit(config, dataset, splits.train);
  const data::Schema schema = schema_of(config, dataset, splits, preprocessing);
  if (options.common.shows_progress()) {
    print_remarks(dataset.notes, suspicious_columns(dataset, splits.train));
    print_skipped(dataset);
    print_remarks(absent_classes(dataset, splits.train), refusals(config, dataset, splits));
  }
  print_result(options.common, schema.to_json(), schema_text(schema));
}

}  // namespace

void add_data_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "data", "Show what a configuration reads: columns and their roles, images, text, parts, labels");
  const auto options = std::make_shared<DataCommand>();
  add_config_options(*command, options->config);
  add_common_options(*command, options->common);
  command->footer(
      "Trains nothing and writes nothing; docs/schema.md explains the output.\n"
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion data phantom");
  command->callback([options, &action] { action = [options] { show_data(*options); }; });
}

}  // namespace medfusion::tools
