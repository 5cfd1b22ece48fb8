// medfusion eval: metrics of a run on a part of the data.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "core/file.h"
#include "optim/progress.h"
#include "tools/medfusion/common.h"
#include "tools/medfusion/pipeline.h"
#include "tools/medfusion/run_directory.h"
#include "tools/medfusion/text_file.h"

namespace medfusion::tools {
namespace {

struct EvalOptions {
  CommonOptions common;
  std::string run;
  std::string split = "test";
  std::string data;
  std::string out;
};

// One line per label and the macro average.
std::string table_of(const optim::Metrics& metrics) {
  const auto cell = [](const optim::MetricValue& value) {
    return value.defined() ? fmt::format("{:>9.4f}", *value.value) : fmt::format("{:>9}", "undefined");
  };
  size_t width = 5;
  for (const auto& label : metrics.labels) width = std::max(width, label.name.size());
  std::string text = fmt::format("{:<{}}  {:>9}", "label", width, "positives");
  for (const auto metric : optim::kMetrics) text += fmt::format("  {:>11}", optim::name_of(metric));
  text += "\n";
  for (const auto& label : metrics.labels) {
    text += fmt::format("{:<{}}  {:>9}", label.name, width, label.positives);
    for (const auto metric : optim::kMetrics) text += "    " + cell(label[metric]);
    text += "\n";
  }
  text += fmt::format("{:<{}}  {:>9}", "macro", width, "");
  for (const auto metric : optim::kMetrics) text += "    " + cell(metrics[metric].mean);
  text += "\n";
  for (const auto& left_out : metrics[optim::Metric::auroc].left_out) {
    text += fmt::format("left out of the macro AUROC: {} ({})\n", left_out.label, left_out.reason);
  }
  return text;
}

void evaluate(const EvalOptions& options) {
  const RunDirectory run = RunDirectory::open(options.run);
  use_device(options.common.device);
  TrainedRun trained = TrainedRun::open(run);
  use_threads(options.common.threads.value_or(trained.config.threads));
  if (!options.data.empty()) trained.config.data.root = options.data;
  data::DataOptions data_options = to_data_options(trained.config);
  // The labels of the run, whatever the data's counts say today.
  data_options.labels = trained.labels;
  data_options.min_positives = 0;
  const data::Dataset dataset = data::open_dataset(data_options);
  const data::Splits splits = data::make_splits(data_options, dataset);
  const auto& rows = options.split == "train" ? splits.train
                     : options.split == "val" ? splits.val
                                              : splits.test;
  if (rows.empty()) {
    core::throw_input_error({options.run}, fmt::format("the {} part of the data has no rows", options.split));
  }
  const auto loader =
      make_loader(trained.config, dataset, trained.preprocessing.encode(dataset), rows, false);
  optim::ProgressOptions progress_options;
  progress_options.quiet = options.common.quiet || options.common.json;
  optim::Progress progress(progress_options);
  progress.begin("evaluating", loader->batches());
  int64_t seen = 0;
  const auto predictions =
      optim::predict(*trained.network, *loader, output_of(trained.config), [&](int64_t done) {
        progress.advance(done - seen);
        seen = done;
      });
  progress.end();
  const auto metrics = metrics_of(predictions, trained);
  const auto json = optim::to_json(metrics);
  const std::filesystem::path folder =
      options.out.empty() ? run.folder() : std::filesystem::path(options.out);
  std::filesystem::create_directories(folder);
  core::write_file((folder / "predictions.csv").string(),
                   predictions_csv(predictions, dataset, trained.labels));
  core::write_file((folder / "metrics.json").string(), to_text(json, 2) + "\n");
  if (options.common.json) {
    print_json(json);
  } else if (!options.common.quiet) {
    print_text(table_of(metrics));
  }
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
