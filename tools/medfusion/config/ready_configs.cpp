#include "tools/medfusion/config/ready_configs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/nearest.h"

namespace medfusion::tools {

std::filesystem::path ready_config_folder() {
  std::error_code failure;
  const auto program = std::filesystem::canonical("/proc/self/exe", failure);
  const auto folder = program.parent_path().parent_path() / "share" / "medfusion" / "configs";
  return std::filesystem::weakly_canonical(folder, failure);
}

std::vector<std::string> ready_config_names() {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(ready_config_folder(), failure)) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string find_config(const std::string& given) {
  const std::filesystem::path path = given;
  std::error_code failure;
  const auto type = std::filesystem::status(path, failure).type();
  const bool is_there = type != std::filesystem::file_type::not_found;
  // The folder that `synth --out phantom` makes must not hide the configuration `phantom`.
  const bool is_file = is_there && type != std::filesystem::file_type::directory;
  if (is_file || given.empty() || path.has_parent_path() || path.has_extension()) return given;
  const std::vector<std::string> names = ready_config_names();
  if (std::find(names.begin(), names.end(), given) != names.end())
    return (ready_config_folder() / (given + ".toml")).string();
  if (is_there) return given;
  core::throw_input_error(
      {given}, names.empty() ? std::string("expected a configuration file")
                             : fmt::format("expected a configuration file or one of {}{}",
                                           fmt::join(names, ", "), core::did_you_mean(given, names)));
}

}  // namespace medfusion::tools
