// medfusion cv: cross-validation, grouped by patient.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/run/cross_validation.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/published_protocol.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {
namespace {

struct CvOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string folds;
  std::string out;
  bool force = false;
  int64_t seeds = 1;
  bool redraw = false;
  std::string protocol = "honest";
};

// The configuration with --folds, a file of which is relative to the working directory.
Config read_cv_config(const CvOptions& options) {
  ConfigBuilder builder = read_config(options.config, options.common);
  builder.set("data.split", "folds", "cv");
  if (options.folds.empty()) return builder.build();
  const bool number = options.folds.find_first_not_of("0123456789") == std::string::npos;
  const std::string folds = number ? options.folds : std::filesystem::absolute(options.folds).string();
  builder.set("data.folds", folds, "--folds " + options.folds);
  return builder.build();
}

void cross_validate(const CvOptions& options) {
  CrossValidation job;
  job.config = read_cv_config(options);
  use_threads(job.config.threads);
  job.device = use_device(options.common);
  job.seeds = options.seeds;
  job.redraw = options.redraw;
  if (job.redraw && !job.config.data.split.fold_count()) {
    core::throw_input_error(
        {"--redraw"}, "expected a number of folds to draw, got the file " + job.config.data.split.folds);
  }
  job.out = output_folder(options.out, options.config.file, "-cv");
  RunDirectory::check_free(job.out, options.force);
  job.force = options.force;
  job.quiet = !options.common.shows_progress();
  if (options.protocol == "as-published") {
    const auto protocols = compare_protocols(job);
    return print_result(
        options.common, protocols,
        protocols_table(protocols) + fmt::format("\nwrote {}\n", (job.out / "protocols.json").string()));
  }
  const auto json = medfusion::tools::cross_validate(job);
  const auto& macro = json["macro_auroc"];
  const auto spread = [](const nlohmann::ordered_json& value) {
    return value.is_null() ? std::string("undefined") : fmt::format("{:.4f}", value.get<double>());
  };
  std::string text = fmt::format("macro AUROC {:.4f}, deviation over {} folds {}",
                                 macro["mean"].get<double>(), macro["per_fold"].size(), spread(macro["std"]));
  if (options.seeds > 1) {
    text += fmt::format(", over {} seeds {}", options.seeds, spread(macro["seed_std"]));
  }
  print_result(options.common, json, text + fmt::format("\nwrote {}\n", (job.out / "cv.json").string()));
}

}  // namespace

void add_cv_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("cv", "Cross-validate: train on all folds but one, test on that one");
  const auto options = std::make_shared<CvOptions>();
  add_config_options(*command, options->config);
  add_value(*command, "--folds", options->folds, "FILE.csv|N",
            "CSV file with the fold of each image, or a number of folds to draw by patient (default: "
            "data.folds)");
  add_value(*command, "--out", options->out, "DIR",
            "Folder to write: cv.json and one run per fold (default: runs/ and the "
            "configuration's name with -cv)");
  add_number(*command, "--seeds", options->seeds, "N", 1, 1000,
             "Repeat with this many seeds: the configured seed and the ones after it");
  command->add_flag("--redraw", options->redraw, "Draw new folds for each seed: repeated cross-validation");
  add_choice(*command, "--protocol", options->protocol, "TEXT", {"honest", "as-published"},
             "honest: fit everything inside the training part of each fold. as-published: show beside it the "
             "common mistake of resampling before the split (published.*); its figures are wrong");
  command->add_flag("--force", options->force, "Overwrite existing files");
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion cv phantom --folds 5 --set train.epochs=5\n"
      "  medfusion cv cervical --protocol as-published");
  command->callback([options, &action] { action = [options] { cross_validate(*options); }; });
}

}  // namespace medfusion::tools
