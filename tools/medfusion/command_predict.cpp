// medfusion predict: probabilities of images.
#include <memory>

#include "tools/medfusion/common.h"
#include "tools/medfusion/run_directory.h"

namespace medfusion::tools {
namespace {

struct PredictOptions {
  CommonOptions common;
  std::string run;
  std::vector<std::string> images;
  std::string table;
  std::string out;
};

void predict(const PredictOptions& options) {
  const RunDirectory run = RunDirectory::open(options.run);
  const Config config = run.read_config();
  use_threads(options.common.threads.value_or(config.threads));
  throw core::Error("predict: not available in this build");
}

}  // namespace

void add_predict_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("predict", "Predict the labels of images");
  const auto options = std::make_shared<PredictOptions>();
  command->add_option("run", options->run, "Run directory made by train")->type_name("RUN")->required();
  command->add_option("--images", options->images, "Image files, or folders of them")
      ->type_name("PATH")
      ->required();
  command
      ->add_option("--table", options->table,
                   "Table of the images' metadata, with the columns of the training data")
      ->type_name("FILE.csv");
  command->add_option("--out", options->out, "File to write (default: standard output)")
      ->type_name("FILE.csv");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train tools/configs/phantom.toml --out runs/phantom):\n"
      "  medfusion predict runs/phantom --images phantom/images --out predictions.csv");
  command->callback([options, &action] { action = [options] { predict(*options); }; });
}

}  // namespace medfusion::tools
