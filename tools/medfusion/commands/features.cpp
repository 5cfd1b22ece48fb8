// medfusion features: stage one, which features of the table speak of which label.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "data/table/feature_selection.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/options.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/feature_report.h"
#include "tools/medfusion/run/guard.h"

namespace medfusion::tools {
namespace {

struct FeaturesOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string out;
};

void select_features(const FeaturesOptions& options) {
  Config config = read_config(options.config, options.common).build();
  use_threads(config.threads);
  if (config.data.format == data::DataFormat::none) {
    core::throw_input_error({options.config.file}, "data.format: expected data, got \"none\"");
  }
  const std::filesystem::path folder = output_folder(options.out, options.config.file, "-features");
  check_output_folder("--out", folder, {"features.csv", "features.json"}, files_of(config));
  if (std::filesystem::exists(folder / "preprocessing.json")) {
    core::throw_input_error(
        {folder.string()},
        "expected another folder than that of a run, which has a features.json of its own");
  }
  if (config.features.discretize == data::Discretization::automatic)
    config.features.discretize = data::Discretization::mdl;
  data::DataOptions data_options = to_data_options(config);
  data_options.read_images = false;
  const data::Dataset dataset = data::open_dataset(data_options);
  if (dataset.columns.empty()) {
    core::throw_input_error({options.config.file}, "expected data with a table, got none");
  }
  const data::Splits splits = data::make_splits(data_options, dataset);
  refuse_leaks(config, dataset, splits);
  const auto encoder = data::TableEncoder::fit(dataset.columns, splits.train, config.data.log_columns);
  const auto stage = data::StageOne::fit(encoder, dataset, splits.train, to_feature_options(config));
  if (options.common.shows_progress())
    print_remarks(dataset.notes, suspicious_columns(dataset, splits.train));
  const auto json = features_json(stage);
  std::filesystem::create_directories(folder);
  core::write_file((folder / "features.csv").string(), features_csv(stage));
  core::write_file((folder / "features.json").string(), to_text(json, 2) + "\n");
  print_result(options.common, json,
               features_text(stage) + fmt::format("wrote {}\n", (folder / "features.csv").string()));
}

}  // namespace

void add_features_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("features", "Select the table's features per label (stage one)");
  const auto options = std::make_shared<FeaturesOptions>();
  add_config_options(*command, options->config);
  add_value(*command, "--out", options->out, "DIR",
            "Folder for features.csv and features.json (default: runs/NAME-features, NAME being the "
            "configuration's name)");
  add_common_options(*command, options->common);
  command->footer(
      "Fits on the training part only; docs/features.md explains the columns.\n"
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion features phantom-clinical --out features");
  command->callback([options, &action] { action = [options] { select_features(*options); }; });
}

}  // namespace medfusion::tools
