// medfusion compare: two runs on the same rows.

#include <filesystem>
#include <memory>

#include "tools/evaluation/measures/compare.h"
#include "tools/evaluation/measures/compare_folds.h"
#include "tools/medfusion/commands/common.h"

namespace medfusion::tools {
namespace {

struct CompareOptions {
  CommonOptions common;
  std::string first, second;
  int64_t resamples = EvaluationOptions{}.resamples;
};

// predictions.csv of a folder, or the file itself.
std::string predictions_of(const std::string& run) {
  namespace fs = std::filesystem;
  const fs::path path = fs::is_directory(run) ? fs::path(run) / "predictions.csv" : fs::path(run);
  if (!fs::exists(path)) {
    core::throw_input_error({run}, fs::is_directory(run)
                                       ? "expected predictions.csv there; medfusion eval and cv write it"
                                       : "expected a run directory, there is none");
  }
  return path.string();
}

void compare(const CompareOptions& options) {
  use_threads(options.common.threads.value_or(0));
  const std::string first = predictions_of(options.first);
  const std::string second = predictions_of(options.second);
  EvaluationOptions settings;
  settings.resamples = options.resamples;
  if (options.common.seed) settings.seed = static_cast<uint64_t>(*options.common.seed);
  auto json = compare_predictions(read_predictions(first), read_predictions(second), first, second, settings);
  const auto first_cv = read_cross_validation(options.first);
  const auto second_cv = read_cross_validation(options.second);
  if (first_cv && second_cv) json["cross_validation"] = compare_folds(*first_cv, *second_cv, settings);
  print_result(options.common, json, comparison_table(json));
}

}  // namespace

void add_compare_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("compare",
                                             "Compare two runs, or two cross-validations, on the same rows: "
                                             "paired DeLong tests and patient bootstrap");
  const auto options = std::make_shared<CompareOptions>();
  const char* const help = "Folder with predictions.csv: a run directory after eval, or the folder of a cv";
  add_value(*command, "first", options->first, "RUN_A", help)->required();
  add_value(*command, "second", options->second, "RUN_B", help)->required();
  add_number(*command, "--bootstrap", options->resamples, "N", 0, 1000000,
             "Resamples of the patients for the intervals");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train and eval of runs/phantom, and of runs/image with --set\n"
      "model.modalities.table=false --set model.modalities.text=false):\n"
      "  medfusion compare runs/phantom runs/image");
  command->callback([options, &action] { action = [options] { compare(*options); }; });
}

}  // namespace medfusion::tools
