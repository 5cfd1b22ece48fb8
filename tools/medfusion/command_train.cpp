// medfusion train: a run directory from a configuration.
#include <memory>

#include "tools/medfusion/common.h"
#include "tools/medfusion/run_directory.h"

namespace medfusion::tools {
namespace {

struct TrainOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string out;
  std::string init;
  bool force = false;
};

void train(const TrainOptions& options) {
  const Config config = load(options.config, options.common);
  use_threads(config.threads);
  throw core::Error("train: not available in this build");
}

}  // namespace

void add_train_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("train", "Train a network");
  const auto options = std::make_shared<TrainOptions>();
  add_config_options(*command, options->config);
  command
      ->add_option("--out", options->out,
                   "Run directory to write (default: runs/ and the configuration's name)")
      ->type_name("RUN");
  command
      ->add_option(
          "--init", options->init,
          "Initial weights, by name; with --set train.epochs=0 this turns foreign weights into a run")
      ->type_name("FILE.safetensors");
  command->add_flag("--force", options->force, "Overwrite the run that is there");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion train tools/configs/phantom.toml --set train.epochs=5 --out runs/phantom");
  command->callback([options, &action] { action = [options] { train(*options); }; });
}

}  // namespace medfusion::tools
