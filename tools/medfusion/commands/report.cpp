// medfusion report: one HTML file about a run, or about several beside each other.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "tools/evaluation/measures/compare_folds.h"
#include "tools/evaluation/report/report.h"
#include "tools/evaluation/report/report_study.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/figures.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/config.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {
namespace {

struct ReportOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::string out;
  std::string figures;
};

nlohmann::ordered_json json_if_there(const RunDirectory& run, const std::string& name) {
  if (!std::filesystem::exists(run.file(name))) return nullptr;
  return run.read_json(name);
}

// The same of a folder that is no run.
nlohmann::ordered_json json_if_there(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return nullptr;
  return parse_json(read_file(path.string()), path.string());
}

std::vector<nlohmann::ordered_json> history_of(const RunDirectory& run) {
  std::vector<nlohmann::ordered_json> history;
  const std::string path = run.file("metrics.jsonl").string();
  if (!std::filesystem::exists(path)) return history;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);) {
    try {
      history.push_back(parse_json(line, path));
    } catch (const core::InputError&) {
      core::throw_input_error({path, static_cast<int64_t>(history.size()) + 1},
                              "expected one JSON object per line");
    }
  }
  return history;
}

// Every key of the configuration with its value.
nlohmann::ordered_json settings_of(Config config) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  for (const core::Field& field : core::fields_of(config))
    std::visit(
        [&](auto value) {
          if constexpr (std::is_pointer_v<decltype(value)>) {
            settings[field.name] = *value;
          } else {
            settings[field.name] = value.names[*value.value];
          }
        },
        field.value);
  return settings;
}

// The last two components, so that a/fold0 and b/fold0 differ.
std::string name_of(const std::filesystem::path& folder) {
  const auto whole = std::filesystem::weakly_canonical(folder);
  const std::string parent = whole.parent_path().filename().string();
  return (parent.empty() ? "" : parent + "/") + whole.filename().string();
}

RunRecord read_run(const std::filesystem::path& folder) {
  const RunDirectory run = RunDirectory::open(folder);
  RunRecord record;
  record.name = name_of(folder);
  record.settings = settings_of(run.read_config());
  run.read_labels();  // refuses what is damaged
  record.config = read_file(run.file("config.toml").string());
  record.data = run.read_json("data.json");
  record.schema = json_if_there(run, "schema.json");
  record.preprocessing = run.read_json("preprocessing.json");
  record.history = history_of(run);
  record.evaluation = json_if_there(run, "evaluation.json");
  record.features = json_if_there(run, "features.json");
  record.explanation = json_if_there(run, "explain/explain.json");
  record.picture = [run](const std::string& name) { return read_file(run.file("explain/" + name).string()); };
  return record;
}

// The run of each fold, in order of seeds and folds.
std::vector<std::filesystem::path> fold_folders(const std::filesystem::path& folder,
                                                const nlohmann::ordered_json& cv) {
  std::vector<std::filesystem::path> folders;
  try {
    const auto seeds = cv.at("seeds").get<std::vector<int64_t>>();
    for (const int64_t seed : seeds) {
      const auto parent = seed_folder(folder, static_cast<int64_t>(seeds.size()), seed);
      for (int64_t fold = 0; fold < cv.at("folds").get<int64_t>(); ++fold)
        folders.push_back(parent / fmt::format("fold{}", fold));
    }
  } catch (const nlohmann::json::exception&) {
    folders.clear();
  }
  if (folders.empty())
    core::throw_input_error({(folder / "cv.json").string()}, "expected folds and seeds, as cv writes them");
  return folders;
}

RunRecord read_folds(const std::filesystem::path& folder) {
  const auto cv = json_if_there(folder / "cv.json");
  const auto folders = fold_folders(folder, cv);
  RunRecord record = read_run(folders.front());
  record.name = name_of(folder);
  record.cross_validation = cv;
  record.protocols = json_if_there(folder / "protocols.json");
  record.evaluation = json_if_there(folder / "evaluation.json");
  record.explanation = nullptr;
  record.history.clear();
  for (const auto& each : folders) {
    const RunDirectory run = RunDirectory::open(each);
    record.folds.push_back({std::filesystem::relative(each, folder).string(), run.read_json("data.json"),
                            run.read_json("preprocessing.json")});
  }
  return record;
}

RunRecord read_record(const std::string& folder) {
  const bool folds = std::filesystem::exists(std::filesystem::path(folder) / "cv.json");
  return folds ? read_folds(folder) : read_run(folder);
}

// The folder of a study; several runs are never one.
bool is_study(const std::vector<std::string>& folders) {
  return folders.size() == 1 && std::filesystem::exists(std::filesystem::path(folders[0]) / "study.json");
}

Page report_of(const std::vector<std::string>& folders, std::vector<RunRecord>& records) {
  if (records.size() == 1)
    return records[0].folds.empty() ? run_report(records[0]) : cross_validation_report(records[0]);
  for (size_t i = 0; i < folders.size(); ++i) {
    const auto path = std::filesystem::path(folders[i]) / "predictions.csv";
    if (std::filesystem::exists(path)) records[i].predictions = read_predictions(path.string());
  }
  return comparison_report(records);
}

// The tables and figures have names of their own, which the files of a run may have too.
void check_figures(const ReportOptions& options) {
  check_output_folder("--figures", options.figures, {}, {});
  for (const std::string& run : options.runs) {
    std::error_code none;
    if (std::filesystem::equivalent(options.figures, run, none))
      core::throw_input_error({"--figures " + options.figures},
                              "expected another folder than that of the run");
  }
}

void report(const ReportOptions& options) {
  use_threads(options.common.threads.value_or(0));
  check_output_file("--out", options.out, ".html", {}, "report.html");
  if (!options.figures.empty()) check_figures(options);
  std::vector<RunRecord> records;
  const bool study = is_study(options.runs);
  if (!study) {
    for (const std::string& run : options.runs) records.push_back(read_record(run));
  }
  const bool one = options.runs.size() == 1;
  std::filesystem::path out = options.out;
  if (out.empty()) out = one ? std::filesystem::path(options.runs[0]) / "report.html" : "comparison.html";
  const Page page = study ? study_report(json_if_there(std::filesystem::path(options.runs[0]) / "study.json"))
                          : report_of(options.runs, records);
  const std::string html = page.html();
  core::write_file(out.string(), html);
  const auto missing = one && !study ? missing_parts(records[0]) : std::vector<std::string>();
  std::string text = fmt::format("{} ({:.1f} MB)\n", out.string(), static_cast<double>(html.size()) * 1e-6);
  for (const std::string& part : missing) text += "not in it: " + part + "\n";
  if (!options.figures.empty())
    text += fmt::format("{} ({} figures and tables)\n",
                        (std::filesystem::path(options.figures) / "index.csv").string(),
                        write_figures(options.figures, page));
  print_result(options.common, {{"report", out.string()}, {"bytes", html.size()}, {"missing", missing}},
               text);
}

}  // namespace

void add_report_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "report",
      "Write one HTML file about a run or a cross-validation, or a comparison of several, to read offline or "
      "print");
  const auto options = std::make_shared<ReportOptions>();
  add_value(*command, "runs", options->runs, "RUN",
            "Run directories, or folders that cv wrote, of which several give a comparison; or the folder of "
            "a study")
      ->required();
  add_value(*command, "--out", options->out, "FILE",
            "The file (default: RUN/report.html, comparison.html for several)");
  add_value(*command, "--figures", options->figures, "DIR",
            "Also write each figure as SVG and each table as CSV into this folder, with an index.csv");
  add_common_options(*command, options->common);
  command->footer(
      "The report shows what the run directory holds. For a full report run eval and explain first:\n"
      "  medfusion train phantom --out runs/phantom\n"
      "  medfusion eval runs/phantom\n"
      "  medfusion explain runs/phantom --split test --limit 40\n"
      "Example:\n"
      "  medfusion report runs/phantom");
  command->callback([options, &action] { action = [options] { report(*options); }; });
}

}  // namespace medfusion::tools
