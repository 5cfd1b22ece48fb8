// medfusion eval: metrics of a run on a part of the data.
#include <memory>

#include "tools/medfusion/common.h"
#include "tools/medfusion/run_directory.h"

namespace medfusion::tools {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string run;
  std::string split = "test";
  std::string data;
  std::string out;
};

void evaluate(const EvalOptions& options) {
  const RunDirectory run = RunDirectory::open(options.run);
  const Config config = run.read_config();
  use_threads(options.common.threads.value_or(config.threads));
  throw core::Error("eval: not available in this build");
}

}  // namespace

void add_eval_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("eval", "Evaluate a run: metrics.json and predictions.csv");
  const auto options = std::make_shared<EvalOptions>();
  command->add_option("run", options->run, "Run directory made by train")->type_name("RUN")->required();
  command->add_option("--split", options->split, "Part of the data: train, val or test")
      ->type_name("NAME")
      ->check(CLI::IsMember({"train", "val", "test"}))
      ->capture_default_str();
  command->add_option("--data", options->data, "Folder of the data, in place of the one of the run")
      ->type_name("DIR");
  command->add_option("--out", options->out, "Folder for the two files (default: the run directory)")
      ->type_name("DIR");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train tools/configs/phantom.toml --out runs/phantom):\n"
      "  medfusion eval runs/phantom --split test");
  command->callback([options, &action] { action = [options] { evaluate(*options); }; });
}

}  // namespace medfusion::tools
