// medfusion train: a run directory from a configuration.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/run_replacement.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

struct TrainOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string out;
  std::string init;
  bool init_partial = false;
  bool force = false;
};

void train(const TrainOptions& options) {
  const Config config = read_config(options.config, options.common).build();
  use_threads(config.threads);
  const core::Device device = use_device(options.common);
  const std::filesystem::path folder = output_folder(options.out, options.config.file);
  RunDirectory::check_free(folder, options.force);
  const data::DataOptions data_options = to_data_options(config);
  data::Dataset dataset;
  data::Splits splits;
  if (config.data.format == data::DataFormat::none) {
    dataset.name = "none";
    dataset.labels = config.data.label_names();
    dataset.targets = core::Tensor::zeros({0, static_cast<int64_t>(dataset.labels.size())});
  } else {
    dataset = open_data(config, data_options);
    splits = data::make_splits(data_options, dataset);
    for (const std::string& note : text_notes(config, dataset, splits.train)) dataset.notes.push_back(note);
    refuse_leaks(config, dataset, splits);
    std::ranges::copy(absent_classes(dataset, splits.train), std::back_inserter(dataset.notes));
    if (options.common.shows_progress())
      print_remarks(dataset.notes, suspicious_columns(dataset, splits.train));
  }
  RunReplacement replacement(folder, options.force);
  const auto result = train_run({config, device, options.init, !options.common.shows_progress(), "",
                                 [&] { replacement.keep(); }, options.init_partial},
                                dataset, splits, replacement.run());
  const bool trained = result.epochs_run > 0;
  nlohmann::ordered_json report = {
      {"run", folder.string()},
      {"epochs", result.epochs_run},
      {"train_loss", trained ? nlohmann::ordered_json(result.last_train_loss) : nullptr}};
  if (result.best_epoch > 0) {
    report["best_epoch"] = result.best_epoch;
    report["best_val_macro_auroc"] = or_null(result.best_auroc.value);
  }
  std::string text = fmt::format("wrote {}", folder.string());
  if (result.best_epoch > 0 && result.best_auroc.defined()) {
    text += fmt::format(": validation macro AUROC {:.4f} in epoch {}", *result.best_auroc.value,
                        result.best_epoch);
  }
  print_result(options.common, report, text + "\n");
}

}  // namespace

void add_train_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("train", "Train a network");
  const auto options = std::make_shared<TrainOptions>();
  add_config_options(*command, options->config);
  add_value(*command, "--out", options->out, "RUN",
            "Run directory to write (default: runs/ and the configuration's name)");
  add_value(*command, "--init", options->init, "FILE.safetensors",
            "Initial weights, by name (docs/weights.md). Refused where they give less than 50 % of the "
            "backbone's parameters. With --set train.epochs=0 this turns foreign weights into a run, and "
            "all must be there");
  command->add_flag("--init-partial", options->init_partial, "Take what --init gives, however little")
      ->needs("--init");
  command->add_flag("--force", options->force, "Replace an existing run, as soon as the new one has weights");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion train phantom --set train.epochs=5 --out runs/phantom");
  command->callback([options, &action] { action = [options] { train(*options); }; });
}

}  // namespace medfusion::tools
