// medfusion cv: cross-validation, grouped by patient.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "core/file.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/cross_validation.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/published_protocol.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/run_directory.h"
#include "tools/medfusion/run/run_replacement.h"

namespace medfusion::tools {
namespace {

struct CvOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string folds;
  std::string out;
  bool force = false;
  std::string resume;
  std::string init;
  std::vector<std::string> fold_set;  // FOLD:KEY=VALUE
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

// What a cross-validation was asked for, so that --resume can go on with it.
void write_start(const CvOptions& options, const CrossValidation& job) {
  std::filesystem::create_directories(job.out);
  const nlohmann::ordered_json start = {{"seeds", options.seeds},
                                        {"redraw", options.redraw},
                                        {"force", options.force},
                                        {"protocol", options.protocol},
                                        {"device", options.common.device},
                                        {"kernels", options.common.kernels},
                                        {"init", job.init},
                                        {"fold_set", options.fold_set}};
  core::write_file((job.out / "cv_start.json").string(), to_text(start, 2) + "\n", true);
  core::write_file((job.out / "cv.toml").string(), to_toml(job.config), true);
}

// The options of a cross-validation that goes on, from what write_start() left.
CvOptions read_start(const CvOptions& given) {
  const std::filesystem::path folder = given.resume;
  if (!std::filesystem::exists(folder / "cv.toml")) {
    core::throw_input_error({folder.string()},
                            "expected the folder of a cross-validation to go on with, cv.toml is missing");
  }
  CvOptions options = given;
  options.out = given.resume;
  options.config.file = (folder / "cv.toml").string();
  const std::string file = (folder / "cv_start.json").string();
  try {
    const auto start = parse_json(read_file(file), file);
    options.seeds = start.at("seeds").get<int64_t>();
    options.redraw = start.at("redraw").get<bool>();
    options.force = start.value("force", false);
    options.protocol = start.at("protocol").get<std::string>();
    options.init = start.value("init", "");
    options.fold_set = start.value("fold_set", std::vector<std::string>());
    if (options.common.device == "auto") options.common.device = start.at("device").get<std::string>();
    if (options.common.kernels.empty()) start.at("kernels").get_to(options.common.kernels);
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({file}, "expected seeds, redraw, protocol, device and kernels as cv writes them");
  }
  return options;
}

// "0:train.epochs=3", checked against the configuration.
std::map<int64_t, std::vector<std::string>> read_fold_set(const std::vector<std::string>& given,
                                                          const Config& config) {
  std::map<int64_t, std::vector<std::string>> result;
  for (const std::string& each : given) {
    const size_t colon = each.find(':');
    const auto fold = colon == std::string::npos ? std::nullopt : data::parse_integer(each.substr(0, colon));
    if (!fold || *fold < 0)
      core::throw_input_error({"--fold-set " + each}, "expected FOLD:KEY=VALUE, folds count from 0");
    result[*fold].push_back(each.substr(colon + 1));
  }
  for (const auto& [fold, assignments] : result) {
    ConfigBuilder builder;
    builder.read_text(to_toml(config), "configuration");
    for (const std::string& assignment : assignments) builder.set(assignment);
    builder.build();
  }
  return result;
}

CrossValidation job_of(const CvOptions& options) {
  CrossValidation job;
  job.config = read_cv_config(options);
  use_threads(job.config.threads);
  job.device = use_device(options.common);
  job.kernels = options.common.kernels;
  job.init = options.init.empty() ? "" : std::filesystem::absolute(options.init).string();
  job.fold_set = read_fold_set(options.fold_set, job.config);
  job.seeds = options.seeds;
  job.redraw = options.redraw;
  job.resume = !options.resume.empty();
  if (job.redraw && !job.config.data.split.fold_count()) {
    core::throw_input_error(
        {"--redraw"}, "expected a number of folds to draw, got the file " + job.config.data.split.folds);
  }
  job.out = output_folder(options.out, options.config.file, "-cv");
  job.resume_command = "medfusion cv --resume " + shell_word(job.out.string());
  job.force = options.force;
  job.quiet = !options.common.shows_progress();
  return job;
}

void cross_validate(const CvOptions& given) {
  if (given.config.file.empty() == given.resume.empty())
    core::throw_input_error({}, "expected CONFIG, or --resume DIR in its place (see medfusion cv --help)");
  const bool resumes = !given.resume.empty();
  const CvOptions options = resumes ? read_start(given) : given;
  CrossValidation job = job_of(options);
  if (!resumes) {
    check_output_folder("--out", job.out, RunDirectory::file_names(), files_of(job.config));
    RunDirectory::check_free(job.out, options.force);
  }
  std::optional<FolderLock> lock;
  job.on_start = [&] {
    lock.emplace(job.out);
    if (resumes) return;
    RunDirectory::check_free(job.out, options.force);  // another may have written meanwhile
    write_start(options, job);
  };
  if (options.protocol == "as-published") {
    if (several_ranks() != nullptr) core::throw_input_error({}, "--protocol as-published: expected one rank");
    const auto protocols = compare_protocols(job);
    return print_result(
        options.common, protocols,
        protocols_table(protocols) + fmt::format("\nwrote {}\n", (job.out / "protocols.json").string()));
  }
  const auto json = medfusion::tools::cross_validate(job);
  if (!is_speaker()) return;
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
  add_config_options(*command, options->config, false);
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
  add_value(*command, "--init", options->init, "FILE.safetensors",
            "Initial weights of every fold, as train --init takes them");
  add_value(*command, "--fold-set", options->fold_set, "FOLD:KEY=VALUE",
            "Change a key of the configuration for one fold, counted from 0; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--force", options->force, "Overwrite existing files");
  add_common_options(*command, options->common);
  CLI::Option* const resume = add_value(
      *command, "--resume", options->resume, "DIR",
      "Go on with a cross-validation that was cut off: what is finished is kept, and a fold goes on from "
      "its last checkpoint");
  for (const char* other : {"--out", "--folds", "--seeds", "--redraw", "--protocol", "--set", "--seed",
                            "--force", "--init", "--fold-set"})
    resume->excludes(other);
  command->footer(
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion cv phantom --folds 5 --set train.epochs=5\n"
      "  medfusion cv --resume runs/phantom-cv\n"
      "  medfusion cv cervical --protocol as-published");
  command->callback([options, &action] { action = [options] { cross_validate(*options); }; });
}

}  // namespace medfusion::tools
