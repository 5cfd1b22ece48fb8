// medfusion study: models compared on the same data, folds and seeds.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "core/threads.h"
#include "tools/evaluation/report/report_study.h"
#include "tools/evaluation/report/study_tables.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/figures.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/study/study_run.h"

namespace medfusion::tools {
namespace {

struct StudyCommandOptions {
  CommonOptions common;
  std::string file;
  std::string out;
  int64_t jobs = 1;
  bool dry_run = false;
};

StudyJob study_job_of(const StudyCommandOptions& options) {
  StudyJob job;
  job.study = read_study(options.file);
  if (options.common.seed) job.study.options.seed = *options.common.seed;
  use_threads(options.common.threads.value_or(0));
  use_device(options.common);  // refuses what is not there before anything is trained
  job.out = output_folder(options.out, options.file);
  job.jobs = options.jobs;
  job.threads = std::max<int64_t>(1, core::num_threads() / options.jobs);
  job.device = options.common.device;
  job.kernels = options.common.kernels;
  job.quiet = !options.common.shows_progress();
  job.command =
      fmt::format("medfusion study {} --out {}", shell_word(options.file), shell_word(job.out.string()));
  return job;
}

// OUT/tables/DATA.csv, .txt and .tex, OUT/report.html and OUT/figures.
std::string write_reports(const std::filesystem::path& out, const nlohmann::ordered_json& study) {
  std::string text;
  std::filesystem::create_directories(out / "tables");
  for (const auto& [name, data] : study.at("data").items()) {
    if (data.contains("undefined")) {
      text += fmt::format("{}: {}\n\n", name, data.at("undefined").get<std::string>());
      continue;
    }
    const auto table = study_table(study, name);
    const std::string file = (out / "tables" / name).string(), shown = aligned_text(table);
    core::write_file(file + ".csv", study_table_csv(study, name));
    core::write_file(file + ".txt", shown);
    core::write_file(file + ".tex", latex_table(table, "Results on " + name));
    text += fmt::format("{}\n{}\n", name, aligned_text(study_performance(study, name)));
  }
  const Page page = study_report(study);
  core::write_file((out / "report.html").string(), page.html());
  write_figures(out / "figures", page);
  return text + fmt::format("wrote {}\n", (out / "report.html").string());
}

void study(const StudyCommandOptions& options) {
  const StudyJob job = study_job_of(options);
  if (options.dry_run) return print_text(describe_grid(job));
  check_output_folder("--out", job.out, {}, {options.file});
  const StudyOutcome outcome = run_study(job);
  print_result(options.common, outcome.json, write_reports(job.out, outcome.json));
  if (!outcome.failures.empty()) {
    throw core::Error(fmt::format("{} of the study failed, the first: {}: {}", outcome.failures.size(),
                                  outcome.failures.front().name, outcome.failures.front().reason));
  }
}

}  // namespace

void add_study_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "study", "Compare models on the same data, folds and seeds: train what is missing, then write tables");
  const auto options = std::make_shared<StudyCommandOptions>();
  add_value(*command, "file", options->file, "STUDY.toml", "Data, models and seeds (docs/study.md)")
      ->required();
  add_value(*command, "--out", options->out, "DIR",
            "Folder to write; what is finished there is kept (default: runs/ and the study's name)");
  add_number(*command, "--jobs", options->jobs, "N", 1, 256,
             "Cross-validations to run at once, which share the threads");
  command->add_flag("--dry-run", options->dry_run, "List what would be trained, and train nothing");
  add_common_options(*command, options->common);
  command->footer(
      "The same command goes on with a study that was cut off.\n"
      "Example:\n"
      "  medfusion study tools/configs/studies/pad_ufes20.toml --out runs/study");
  command->callback([options, &action] { action = [options] { study(*options); }; });
}

}  // namespace medfusion::tools
