#include "tools/medfusion/run/run_directory.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>
#include <sstream>
#include <system_error>

#include "core/file.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::array kFiles{
    "report.html",      "config.toml",     "labels.txt", "data.json",      "preprocessing.json",
    "schema.json",      "features.json",   "train.log",  "metrics.jsonl",  "metrics.json",
    "predictions.csv",  "evaluation.json", "cv.json",    "protocols.json", "best.safetensors",
    "last.safetensors", "explain"};

constexpr bool kFlush = true;

bool is_there(const fs::path& path) {
  std::error_code failure;
  return fs::exists(path, failure);
}

}  // namespace

void RunDirectory::check_free(const fs::path& folder, bool overwrite) {
  std::error_code failure;
  if (is_there(folder) && !fs::is_directory(folder, failure)) {
    core::throw_input_error({folder.string()}, "expected a folder for the run, got a file");
  }
  for (const char* name : kFiles) {
    if (overwrite || !is_there(folder / name)) continue;
    core::throw_input_error({folder.string()},
                            "holds a run already ({}); choose another folder with --out, or "
                            "overwrite it with --force",
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

RunDirectory RunDirectory::open(const fs::path& folder) {
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) {
    core::throw_input_error({folder.string()}, is_there(folder)
                                                   ? "expected the folder of a run, got a file"
                                                   : "expected the folder of a run, there is none");
  }
  for (const char* name : {"config.toml", "labels.txt", "preprocessing.json", "data.json"}) {
    if (!is_there(folder / name)) {
      core::throw_input_error({folder.string()}, "not a complete run: {} is missing", name);
    }
  }
  return RunDirectory(folder);
}

void RunDirectory::write_config(const Config& config) const {
  core::write_file(file("config.toml").string(),
                   "# Resolved configuration of medfusion " MEDFUSION_VERSION "\n" + to_toml(config), kFlush);
}

Config RunDirectory::read_config() const { return load_config(file("config.toml").string()); }

void RunDirectory::write_labels(const std::vector<std::string>& labels) const {
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
  core::write_file(file(name).string(), to_text(value, 2) + "\n", kFlush);
}

nlohmann::ordered_json RunDirectory::read_json(const std::string& name) const {
  const std::string text = read_file(file(name));
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    // Its message repeats the place, counted in bytes of the whole text; the line is what helps.
    const size_t byte = std::min(text.size(), error.byte > 0 ? error.byte - 1 : 0);
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(byte), '\n');
    core::throw_input_error({file(name).string(), line}, "expected JSON, the file is damaged");
  }
}

void RunDirectory::log(const std::string& line) const {
  append_to_file(file("train.log"),
                 fmt::format("{:%Y-%m-%d %H:%M:%S} {}\n", fmt::gmtime(std::time(nullptr)), line));
}

void RunDirectory::append_metrics(const nlohmann::ordered_json& value) const {
  append_to_file(file("metrics.jsonl"), to_text(value) + "\n");
}

fs::path RunDirectory::checkpoint(const std::string& which) const {
  MEDFUSION_CHECK(which == "best" || which == "last", "checkpoint: expected best or last, got {}", which);
  return file(which + ".safetensors");
}

fs::path RunDirectory::existing_checkpoint(const std::string& which) const {
  const fs::path path = checkpoint(which);
  if (!is_there(path)) {
    core::throw_input_error(
        {folder_.string()}, "not a complete run: {} is missing{}", path.filename().string(),
        is_there(folder_ / ".replaced") ? "; train --force was cut off, and the run before it is in .replaced"
                                        : "");
  }
  return path;
}

}  // namespace medfusion::tools
