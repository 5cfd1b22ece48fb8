// medfusion report: one HTML file about a run, or about several beside each other.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "tools/evaluation/report.h"
#include "tools/medfusion/common.h"
#include "tools/medfusion/run_directory.h"
#include "tools/medfusion/text_file.h"

namespace medfusion::tools {
namespace {

struct ReportOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::string out;
};

nlohmann::ordered_json json_if_there(const RunDirectory& run, const std::string& name) {
  if (!std::filesystem::exists(run.file(name))) return nullptr;
  return run.read_json(name);
}

std::vector<nlohmann::ordered_json> history_of(const RunDirectory& run) {
  std::vector<nlohmann::ordered_json> history;
  const std::string path = run.file("metrics.jsonl").string();
  if (!std::filesystem::exists(path)) return history;
  const std::string text = read_file(path);
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    ++line;
    auto json = nlohmann::ordered_json::parse(text.substr(begin, end - begin), nullptr, false);
    if (json.is_discarded()) core::throw_input_error({path, line}, "expected one JSON object per line");
    history.push_back(std::move(json));
    begin = end + 1;
  }
  return history;
}

RunRecord read_record(const std::string& folder) {
  const RunDirectory run = RunDirectory::open(folder);
  RunRecord record;
  record.name = std::filesystem::weakly_canonical(run.folder()).filename().string();
  run.read_config();  // refuses what is damaged
  run.read_labels();
  record.config = read_file(run.file("config.toml").string());
  record.data = run.read_json("data.json");
  record.preprocessing = run.read_json("preprocessing.json");
  record.history = history_of(run);
  record.evaluation = json_if_there(run, "evaluation.json");
  record.features = json_if_there(run, "features.json");
  record.explanation = json_if_there(run, "explain/explain.json");
  record.picture = [run](const std::string& name) { return read_file(run.file("explain/" + name).string()); };
  return record;
}

void report(const ReportOptions& options) {
  std::vector<RunRecord> records;
  for (const std::string& run : options.runs) records.push_back(read_record(run));
  const bool one = records.size() == 1;
  std::filesystem::path out = options.out;
  if (out.empty()) out = one ? std::filesystem::path(options.runs[0]) / "report.html" : "comparison.html";
  const std::string html = one ? run_report(records[0]) : comparison_report(records);
  core::write_file(out.string(), html);
  nlohmann::ordered_json summary{
      {"report", out.string()}, {"bytes", html.size()}, {"missing", nlohmann::ordered_json::array()}};
  if (one) {
    for (const std::string& part : missing_parts(records[0])) summary["missing"].push_back(part);
  }
  if (options.common.json) {
    print_json(summary);
  } else if (!options.common.quiet) {
    std::string text = fmt::format("{} ({:.1f} MB)\n", out.string(), static_cast<double>(html.size()) * 1e-6);
    for (const auto& part : summary["missing"]) text += "not in it: " + part.get<std::string>() + "\n";
    print_text(text);
  }
}

}  // namespace

void add_report_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "report", "Write one HTML file about a run, or a comparison of several, to read offline or print");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("runs", options->runs, "Run directories; several give a comparison")
      ->type_name("RUN")
      ->required();
  command
      ->add_option("--out", options->out, "The file (default: RUN/report.html, comparison.html for several)")
      ->type_name("FILE");
  add_common_options(*command, options->common);
  command->footer(
      "It shows what the run directory holds; for all of it run eval and explain before:\n"
      "  medfusion train tools/configs/phantom.toml --out runs/phantom\n"
      "  medfusion eval runs/phantom\n"
      "  medfusion explain runs/phantom --split test --limit 40\n"
      "Example:\n"
      "  medfusion report runs/phantom");
  command->callback([options, &action] { action = [options] { report(*options); }; });
}

}  // namespace medfusion::tools
