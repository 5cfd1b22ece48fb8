#include "tools/medfusion/run/run_directory.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <ctime>
#include <set>
#include <sstream>
#include <system_error>

#include "core/file.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/ranks.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::array kFiles{
    "report.html",      "config.toml",     "labels.txt", "data.json",      "preprocessing.json",
    "schema.json",      "features.json",   "train.log",  "metrics.jsonl",  "metrics.json",
    "predictions.csv",  "evaluation.json", "cv.json",    "protocols.json", "best.safetensors",
    "last.safetensors", "checkpoints",     "explain",    "cv.toml",        "cv_start.json",
    ".starting",        "skipped.csv",     "cost.json"};

constexpr const char* kStarting = ".starting";

constexpr bool kFlush = true;

bool is_there(const fs::path& path) {
  std::error_code failure;
  return fs::exists(path, failure);
}

const char* replaced_hint(const fs::path& folder) {
  if (is_there(folder / ".replacing"))
    return "; train --force was cut off while it set the run aside in .replacing; the next one puts it back";
  return is_there(folder / ".replaced") ? "; train --force was cut off, and the run before it is in .replaced"
                                        : "";
}

}  // namespace

void RunDirectory::check_free(const fs::path& folder, bool overwrite) {
  std::error_code failure;
  if (is_there(folder) && !fs::is_directory(folder, failure)) {
    core::throw_input_error({folder.string()}, "expected a folder for the run, got a file");
  }
  if (overwrite || (is_there(folder / kStarting) && !has_begun(folder))) return;
  for (const std::string_view name : kFiles) {
    // cv.toml comes after cv_start.json: without it, no cross-validation has begun.
    if (!is_there(folder / name) || (name == "cv_start.json" && !is_there(folder / "cv.toml"))) continue;
    core::throw_input_error({folder.string()},
                            "holds a run already ({}); choose another folder with --out, "
                            "overwrite it with --force, or go on with it with --resume",
                            name);
  }
}

RunDirectory RunDirectory::create(const fs::path& folder, bool overwrite) {
  check_free(folder, overwrite);
  std::error_code failure;
  for (const char* name : kFiles) {
    fs::remove_all(folder / name, failure);  // no failure where there is none
    if (failure && is_there(folder / name)) {
      throw core::Error(
          fmt::format("{}: cannot be removed: {}", (folder / name).string(), failure.message()));
    }
  }
  fs::create_directories(folder, failure);
  if (failure) throw core::Error(fmt::format("{}: cannot be made: {}", folder.string(), failure.message()));
  return RunDirectory(folder);
}

std::vector<std::string> RunDirectory::file_names() { return {kFiles.begin(), kFiles.end()}; }

namespace {

void check_is_folder(const fs::path& folder) {
  std::error_code failure;
  if (fs::is_directory(folder, failure)) return;
  core::throw_input_error({folder.string()}, is_there(folder)
                                                 ? "expected the folder of a run, got a file"
                                                 : "expected the folder of a run, there is none");
}

}  // namespace

bool RunDirectory::has_begun(const fs::path& folder) { return is_there(folder / "config.toml"); }

RunDirectory RunDirectory::reopen(const fs::path& folder) {
  check_is_folder(folder);
  if (!has_begun(folder)) {
    core::throw_input_error({folder.string()},
                            "there is nothing to go on with: config.toml is missing, so training was cut off "
                            "before it began; train anew{}",
                            replaced_hint(folder));
  }
  return RunDirectory(folder);
}

bool RunDirectory::is_finished() const {
  return is_there(file("preprocessing.json")) &&
         !read_json("preprocessing.json").value("weights", "").empty();
}

void RunDirectory::keep_metrics(int64_t epochs) const {
  if (!is_speaker()) return;
  const fs::path path = file("metrics.jsonl");
  const std::string text = is_there(path) ? read_file(path) : "";
  size_t end = 0;
  for (int64_t i = 0; i < epochs; ++i) {
    const size_t line = text.find('\n', end);
    if (line == std::string::npos) {
      core::throw_input_error({path.string()},
                              "expected a line for each of the {} epochs that are done, got {}", epochs, i);
    }
    end = line + 1;
  }
  if (end == 0 && !text.empty()) {
    core::remove_file(path.string());
  } else if (end < text.size()) {
    core::write_file(path.string(), std::string_view(text).substr(0, end), kFlush);
  }
}

RunDirectory RunDirectory::of_other_rank(const fs::path& folder) { return RunDirectory(folder); }

RunDirectory RunDirectory::open(const fs::path& folder) {
  check_is_folder(folder);
  for (const char* name : {"config.toml", "labels.txt", "preprocessing.json", "data.json"}) {
    if (!is_there(folder / name)) {
      core::throw_input_error({folder.string()}, "not a complete run: {} is missing{}", name,
                              replaced_hint(folder));
    }
  }
  return RunDirectory(folder);
}

void RunDirectory::begin_start() const {
  if (!is_speaker()) return;
  core::write_file(file(kStarting).string(), "", kFlush);
}

void RunDirectory::end_start(const Config& config) const {
  if (!is_speaker()) return;
  write_config(config);
  core::remove_file(file(kStarting).string());
}

void RunDirectory::write_config(const Config& config) const {
  core::write_file(file("config.toml").string(),
                   "# Resolved configuration of medfusion " MEDFUSION_VERSION "\n" + to_toml(config), kFlush);
}

Config RunDirectory::read_config() const { return load_config(file("config.toml").string()); }

void RunDirectory::write_labels(const std::vector<std::string>& labels) const {
  if (!is_speaker()) return;
  std::string text;
  for (const std::string& label : labels) {
    MEDFUSION_CHECK(!label.empty() && label.find_first_of("\r\n") == std::string::npos,
                    "labels.txt: label '{}' is empty or holds a line end", label);
    text += label + "\n";
  }
  core::write_file(file("labels.txt").string(), text, kFlush);
}

std::vector<std::string> RunDirectory::read_labels() const {
  const std::string path = file("labels.txt").string();
  std::istringstream lines(read_file(path));
  std::vector<std::string> labels;
  std::set<std::string> seen;
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    const auto number = static_cast<int64_t>(labels.size()) + 1;
    if (line.empty()) core::throw_input_error({path, number, 1}, "expected a label name, got an empty line");
    if (!seen.insert(line).second)
      core::throw_input_error({path, number, 1}, "label '" + line + "' is there twice");
    labels.push_back(line);
  }
  if (labels.empty()) core::throw_input_error({path}, "expected one label name per line, got none");
  return labels;
}

void RunDirectory::write_json(const std::string& name, const nlohmann::ordered_json& value) const {
  if (!is_speaker()) return;
  core::write_file(file(name).string(), to_text(value, 2) + "\n", kFlush);
}

nlohmann::ordered_json RunDirectory::read_json(const std::string& name) const {
  return parse_json(read_file(file(name)), file(name).string());
}

void RunDirectory::log(const std::string& line) const {
  if (!is_speaker()) return;
  core::append_file(file("train.log").string(),
                    fmt::format("{:%Y-%m-%d %H:%M:%S} {}\n", fmt::gmtime(std::time(nullptr)), line));
}

void RunDirectory::append_metrics(const nlohmann::ordered_json& value) const {
  if (!is_speaker()) return;
  core::append_file(file("metrics.jsonl").string(), to_text(value) + "\n", kFlush);
}

fs::path RunDirectory::checkpoint(const std::string& which) const {
  MEDFUSION_CHECK(which == "best" || which == "last", "checkpoint: expected best or last, got {}", which);
  return file(which + ".safetensors");
}

fs::path RunDirectory::existing_checkpoint(const std::string& which) const {
  const fs::path path = checkpoint(which);
  if (!is_there(path)) {
    std::string more;
    if (is_there(folder_ / "checkpoints") && !is_finished()) {
      more = "; train --resume goes on with it";
    } else {
      more = replaced_hint(folder_);
    }
    core::throw_input_error({folder_.string()}, "not a complete run: {} is missing{}",
                            path.filename().string(), more);
  }
  return path;
}

}  // namespace medfusion::tools
