// medfusion cv: cross-validation, grouped by patient.
#include <memory>

#include "tools/medfusion/common.h"
#include "tools/medfusion/run_directory.h"

namespace medfusion::tools {
namespace {

struct CvOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string folds;
  std::string out;
  bool force = false;
};

void cross_validate(const CvOptions& options) {
  const Config config = load(options.config, options.common);
  use_threads(config.threads);
  throw core::Error("cv: not available in this build");
}

}  // namespace

void add_cv_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("cv", "Cross-validate: train on all folds but one, test on that one");
  const auto options = std::make_shared<CvOptions>();
  add_config_options(*command, options->config);
  command
      ->add_option("--folds", options->folds,
                   "CSV file with the fold of each image, or a number of folds to draw by patient (default: "
                   "data.folds)")
      ->type_name("FILE.csv|N");
  command
      ->add_option("--out", options->out,
                   "Folder to write: cv.json and one run per fold (default: runs/ and the "
                   "configuration's name with -cv)")
      ->type_name("DIR");
  command->add_flag("--force", options->force, "Overwrite what is there");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion cv tools/configs/phantom.toml --folds 5 --set train.epochs=5");
  command->callback([options, &action] { action = [options] { cross_validate(*options); }; });
}

}  // namespace medfusion::tools
