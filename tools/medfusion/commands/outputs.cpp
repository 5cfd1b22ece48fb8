#include "tools/medfusion/commands/outputs.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "data/readers/csv.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

// Ends of names that say what a file is. Others, and .txt, may be of any kind.
constexpr std::array kKinds{".csv", ".tsv", ".json", ".jsonl", ".toml", ".html", ".htm",
                            ".svg", ".png", ".jpg",  ".jpeg",  ".npz",  ".npy",  ".safetensors",
                            ".pt",  ".pth", ".zip",  ".gz",    ".xlsx", ".dcm"};

bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code none;
  return fs::equivalent(a, b, none);
}

// A run, or a cross-validation.
bool is_run(const fs::path& folder) {
  std::error_code none;
  return fs::exists(folder / "cv.json", none) ||
         (fs::exists(folder / "config.toml", none) && fs::exists(folder / "preprocessing.json", none));
}

// Whether writing `path` replaces `input`, or what lies in it where it is a folder that is written into.
bool replaces(const fs::path& path, const fs::path& input) {
  if (is_same(path, input)) return true;
  std::error_code none;
  if (!fs::is_directory(path, none)) return false;
  for (fs::path above = fs::absolute(input, none).parent_path(); above.has_relative_path();
       above = above.parent_path()) {
    if (is_same(path, above)) return true;
  }
  return false;
}

[[noreturn]] void refuse_output(const std::string& option, const fs::path& path, const std::string& why) {
  core::throw_input_error({option + " " + path.string()}, why);
}

void refuse_inputs(const std::string& option, const fs::path& path, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    if (!input.empty() && replaces(path, input))
      refuse_output(option, path, "expected another file than what is read");
  }
}

// Where folders are to be made, none of them may be a file.
void check_way(const std::string& option, const fs::path& folder) {
  std::error_code none;
  fs::path there = folder;
  while (!there.empty() && !fs::exists(there, none)) there = there.parent_path();
  if (there.empty() || fs::is_directory(there, none)) return;
  refuse_output(option, folder,
                there == folder ? "expected a folder, this is a file"
                                : fmt::format("expected a folder, {} is a file", there.string()));
}

}  // namespace

void check_output_file(const std::string& option, const std::string& path, const std::string& extension,
                       const std::vector<std::string>& inputs, const std::string& own) {
  if (path.empty()) return;
  const fs::path file = path, folder = file.parent_path();
  std::error_code none;
  refuse_inputs(option, file, inputs);
  if (fs::is_directory(file, none)) refuse_output(option, file, "expected a file, this is a folder");
  if (!folder.empty() && !fs::is_directory(folder, none))
    refuse_output(option, file, fmt::format("expected a file in a folder, {} is none", folder.string()));
  const std::string end = data::lower(file.extension().string());
  const bool known = std::find(kKinds.begin(), kKinds.end(), end) != kKinds.end();
  if (known && end != extension && !(extension == ".html" && end == ".htm"))
    refuse_output(option, file, fmt::format("expected a name that ends with {}, got {}", extension, end));
  const std::string name = file.filename().string();
  const std::vector<std::string> of_run = RunDirectory::file_names();
  if (is_run(folder.empty() ? "." : folder) && name != own &&
      std::find(of_run.begin(), of_run.end(), name) != of_run.end())
    refuse_output(option, file, "expected another file than one of a run");
}

void check_output_folder(const std::string& option, const fs::path& folder,
                         const std::vector<std::string>& names, const std::vector<std::string>& inputs,
                         const std::string& run) {
  check_way(option, folder);
  if (!run.empty() && is_run(folder) && !is_same(folder, run))
    refuse_output(option, folder, "expected another folder than that of another run");
  for (const std::string& name : names) refuse_inputs(option, folder / name, inputs);
}

std::vector<std::string> files_of(const Config& config) {
  const data::DataOptions& data = config.data;
  return {data.path(data.file),        data.path(data.labels_file),
          data.path(data.extra_table), data.path(data.pack),
          data.path(data.split.file),  data.split.fold_count() ? "" : data.path(data.split.folds)};
}

}  // namespace medfusion::tools
