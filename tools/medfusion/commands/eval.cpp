// medfusion eval: metrics of a run on a part of the data.

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "optim/progress.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/evaluate_run.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/schema_file.h"
#include "tools/medfusion/run/skipped_rows.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string run;
  std::string split = "test";
  std::string data;
  std::string out, on_error;
  bool strict = false;
  int64_t resamples = EvaluationOptions{}.resamples;
};

void evaluate(const EvalOptions& options) {
  const TrainedRun trained = open_run(options.run, options.common, options.data);
  const std::filesystem::path folder = options.out.empty() ? options.run : options.out;
  check_output_folder("--out", folder, {"predictions.csv", "metrics.json", "evaluation.json"},
                      files_of(trained.config), options.run);
  data::DataOptions data_options = to_data_options(trained.config, trained.labels);
  apply_on_error(options.on_error, data_options);
  const data::Dataset dataset = open_data(trained.config, data_options);
  if (!options.common.quiet && !dataset.skipped.empty()) {
    print_remarks({fmt::format("rows skipped, for their images cannot be read (data.on_error): {}",
                               dataset.skipped.size())},
                  {});
    print_skipped(dataset);
  }
  const data::Splits splits = data::make_splits(data_options, dataset);
  const std::vector<int64_t> rows = rows_of_part(splits, options.split, options.run);
  if (!options.data.empty() || options.strict)
    hold_against_schema({options.run, options.strict, options.common.quiet}, dataset, rows);
  const auto loader = make_loader(trained.config, dataset, trained.preprocessing.encode(dataset), rows, false,
                                  several_ranks());
  optim::ProgressOptions progress_options;
  progress_options.quiet = !options.common.shows_progress();
  optim::Progress progress(progress_options);
  progress.begin("evaluating", loader->batches());
  int64_t seen = 0;
  const auto predictions = predict_run(
      trained, dataset, *loader,
      [&](int64_t done) {
        progress.advance(done - seen);
        seen = done;
      },
      several_ranks());
  progress.end();
  const auto metrics = optim::to_json(metrics_of(predictions, trained));
  EvaluationOptions evaluation_settings = evaluation_options(trained.config, options.resamples);
  if (options.common.seed) evaluation_settings.seed = static_cast<uint64_t>(*options.common.seed);
  evaluation_settings.ranks = several_ranks();
  const auto json =
      evaluate_run(predictions, dataset, splits.train, trained, options.split, evaluation_settings);
  if (!is_speaker()) return;
  std::filesystem::create_directories(folder);
  core::write_file((folder / "predictions.csv").string(), predictions_csv(predictions, dataset, trained));
  core::write_file((folder / "metrics.json").string(), to_text(metrics, 2) + "\n");
  core::write_file((folder / "evaluation.json").string(), to_text(json) + "\n");
  print_result(options.common, metrics, evaluation_table(json));
}

}  // namespace

void add_eval_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("eval", "Evaluate a run: metrics.json, evaluation.json and predictions.csv");
  const auto options = std::make_shared<EvalOptions>();
  add_value(*command, "run", options->run, "RUN", "Run directory made by train")->required();
  add_choice(*command, "--split", options->split, "NAME", {"train", "val", "test"},
             "Part of the data: train, val or test");
  add_value(*command, "--data", options->data, "DIR",
            "Folder of the data, instead of the run's own and its pack");
  add_value(*command, "--out", options->out, "DIR",
            "Folder for the three files (default: the run directory)");
  add_number(*command, "--bootstrap", options->resamples, "N", 0, 1000000,
             "Resamples of the patients for the intervals; 0: no intervals");
  add_on_error_option(*command, options->on_error);
  add_strict_option(*command, options->strict);
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train phantom --out runs/phantom):\n"
      "  medfusion eval runs/phantom --split test --bootstrap 2000");
  command->callback([options, &action] { action = [options] { evaluate(*options); }; });
}

}  // namespace medfusion::tools
