// medfusion train: a run directory from a configuration.
#include <algorithm>
#include <bit>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/interruption.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/resume.h"
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
  std::string resume;
  bool trace_nonfinite = false;
};

struct Inputs {
  data::Dataset dataset;
  data::Splits splits;
};

Inputs open_inputs(const Config& config, bool shows_progress) {
  const data::DataOptions data_options = to_data_options(config);
  Inputs inputs;
  data::Dataset& dataset = inputs.dataset;
  if (config.data.format == data::DataFormat::none) {
    dataset.name = "none";
    dataset.labels = config.data.label_names();
    dataset.targets = core::Tensor::zeros({0, static_cast<int64_t>(dataset.labels.size())});
    return inputs;
  }
  dataset = open_data(config, data_options);
  refuse_missing_images(config, dataset);
  inputs.splits = data::make_splits(data_options, dataset);
  for (const std::string& note : text_notes(config, dataset, inputs.splits.train))
    dataset.notes.push_back(note);
  refuse_leaks(config, dataset, inputs.splits);
  std::ranges::copy(absent_classes(dataset, inputs.splits.train), std::back_inserter(dataset.notes));
  if (shows_progress) print_remarks(dataset.notes, suspicious_columns(dataset, inputs.splits.train));
  return inputs;
}

void print_trained(const TrainOptions& options, const std::filesystem::path& folder,
                   const optim::TrainResult& result) {
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

std::string resume_command_of(const std::filesystem::path& folder) {
  return "medfusion train --resume " + shell_word(folder.string());
}

// What goes wrong once there is a checkpoint loses nothing: the error says how to go on.
optim::TrainResult train_or_say_how(const TrainingJob& job, const Inputs& inputs, const RunDirectory& run) {
  try {
    return train_run(job, inputs.dataset, inputs.splits, run);
  } catch (const core::InputError&) {
    throw;
  } catch (const Interrupted&) {
    throw;
  } catch (const core::Error& error) {
    if (!std::filesystem::exists(run.file("checkpoints"))) throw;
    const std::string what = error.what();
    if (what.starts_with("training diverged"))
      throw core::Error(
          fmt::format("{}; {} --trace-nonfinite comes to that step again", what, job.resume_command));
    throw core::Error(fmt::format("{}; when this is mended, go on with: {}", what, job.resume_command));
  }
}

// All ranks, where there are several, and as many of them as the shards allow.
void use_ranks(TrainingJob& job) {
  core::Communicator& ranks = job_ranks();
  const int64_t shards = job.config.train.step.shards;
  if (!std::has_single_bit(static_cast<unsigned>(ranks.size())) || ranks.size() > shards) {
    core::throw_input_error(
        {},
        "train.shards: {} ranks divide them, so expected a power of two of at most {} ranks, "
        "or --set train.shards={}",
        ranks.size(), shards, std::bit_ceil(static_cast<unsigned>(ranks.size())));
  }
  job.ranks = ranks_on(job.device);
  ranks.barrier();  // all have seen that the folder is free before rank 0 writes there
}

void train_anew(const TrainOptions& options) {
  Config config = read_config(options.config, options.common).build();
  config.train.trace_nonfinite = options.trace_nonfinite;
  use_threads(config.threads);
  TrainingJob job{config, use_device(options.common), options.init, !options.common.shows_progress(), ""};
  job.init_partial = options.init_partial;
  job.kernels = options.common.kernels;
  const std::filesystem::path folder = output_folder(options.out, options.config.file);
  job.resume_command = resume_command_of(folder);
  std::vector<std::string> inputs = files_of(config);
  inputs.push_back(options.init);
  check_output_folder("--out", folder, RunDirectory::file_names(), inputs);
  RunDirectory::check_free(folder, options.force);
  const Inputs data = open_inputs(config, options.common.shows_progress());
  use_ranks(job);
  if (!is_speaker()) {
    train_run(job, data.dataset, data.splits, RunDirectory::of_other_rank(folder));
    return;
  }
  RunReplacement replacement(folder, options.force);
  job.on_checkpoint = [&] { replacement.keep(); };
  print_trained(options, folder, train_or_say_how(job, data, replacement.run()));
}

void resume(const TrainOptions& options) {
  const RunDirectory run = RunDirectory::reopen(options.resume);
  std::optional<FolderLock> lock;
  if (is_speaker()) lock.emplace(run.folder());
  const Start start = read_start(run);
  Config config = resumed_config(run, options.config.assignments);
  if (options.common.threads) config.threads = *options.common.threads;
  config.train.trace_nonfinite = options.trace_nonfinite;
  CommonOptions common = options.common;
  if (common.device == "auto") common.device = start.device;
  if (common.kernels.empty()) common.kernels = start.kernels;
  const int64_t before = run.read_config().train.epochs;
  if (run.is_finished() && config.train.epochs <= before) {
    return print_result(common, {{"run", run.folder().string()}, {"finished", true}},
                        fmt::format("{} is finished; --set train.epochs=N with more than {} extends it\n",
                                    run.folder().string(), before));
  }
  use_threads(config.threads);
  TrainingJob job{config, use_device(common), start.init, !common.shows_progress(), ""};
  job.init_partial = start.init_partial;
  job.kernels = common.kernels;
  job.resume = true;
  job.resume_command = resume_command_of(run.folder());
  job.on_checkpoint = [&run] { drop_replaced(run); };
  const Inputs inputs = open_inputs(config, common.shows_progress());
  use_ranks(job);
  print_trained(options, run.folder(), train_or_say_how(job, inputs, run));
}

void train(const TrainOptions& options) {
  if (options.config.file.empty() == options.resume.empty())
    core::throw_input_error({}, "expected CONFIG, or --resume RUN in its place (see medfusion train --help)");
  options.resume.empty() ? train_anew(options) : resume(options);
}

}  // namespace

void add_train_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("train", "Train a network");
  const auto options = std::make_shared<TrainOptions>();
  add_config_options(*command, options->config, false);
  add_value(*command, "--out", options->out, "RUN",
            "Run directory to write (default: runs/ and the configuration's name)");
  add_value(*command, "--init", options->init, "FILE.safetensors",
            "Initial weights, by name (docs/weights.md). Refused where they give less than 50 % of the "
            "backbone's parameters. With --set train.epochs=0 this turns foreign weights into a run, and "
            "all must be there");
  command->add_flag("--init-partial", options->init_partial, "Take what --init gives, however little")
      ->needs("--init");
  command->add_flag("--force", options->force, "Replace an existing run, as soon as the new one has weights");
  command->add_flag("--trace-nonfinite", options->trace_nonfinite,
                    "Where a loss or gradient is NaN or infinite, run that step once more and name the first "
                    "operation, tensor and rows that had it");
  add_common_options(*command, options->common);
  CLI::Option* const resume =
      add_value(*command, "--resume", options->resume, "RUN",
                "Go on with a run that was cut off, to the same bytes as if it had not been, with its own "
                "configuration; a finished run goes on where --set train.epochs gives it more");
  for (const char* other : {"--out", "--init", "--seed", "--force"}) resume->excludes(other);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion train phantom --set train.epochs=5 --out runs/phantom\n"
      "  medfusion train --resume runs/phantom --set train.epochs=8");
  command->callback([options, &action] { action = [options] { train(*options); }; });
}

}  // namespace medfusion::tools
