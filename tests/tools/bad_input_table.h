// The bad-input table: one row for each kind of damage, with the command that meets it, its exit code and its
// message. docs/bad-input.md shows the same rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/tools/program.h"

namespace medfusion::tools {

struct BadInputCase {
  std::string name;     // what is wrong
  std::string made;     // how it is made, in words
  std::string command;  // after `medfusion`, words between blanks; runs in the folder
  int code = 2;
  std::string message;  // the whole line after "medfusion: "; "..." stands for any characters
  std::function<void(const std::filesystem::path& folder)> make;
};

// What the folder of a case holds before it is damaged:
//   phantom/, tiny.toml, run/   48 phantom images, a configuration, and a run trained on them
//   set/photo/, set/table.csv, csv.toml   20 black images, a table that names them, and a configuration
//   set/chest.npz, npz.toml     a MedMNIST file and a configuration
std::vector<BadInputCase> image_cases();
std::vector<BadInputCase> table_cases();
std::vector<BadInputCase> array_cases();
std::vector<BadInputCase> pack_cases();
std::vector<BadInputCase> weights_cases();
std::vector<BadInputCase> settings_cases();
std::vector<BadInputCase> run_cases();
std::vector<BadInputCase> output_cases();
std::vector<BadInputCase> skip_cases();

// Runs a command in a folder.
inline Outcome run_in(const std::filesystem::path& folder, const std::vector<std::string>& arguments) {
  Surroundings surroundings;
  surroundings.folder = folder;
  return run_medfusion(arguments, surroundings);
}

inline std::string repeated(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

// The bytes of an integer, the lowest first.
inline std::string little_endian(uint64_t value, int bytes) {
  std::string result;
  for (int i = 0; i < bytes; ++i) result += static_cast<char>(value >> (8 * i) & 0xFF);
  return result;
}

// Makes a case's file of these bytes.
inline auto file_of(const std::string& name, const std::string& bytes) {
  return [=](const std::filesystem::path& folder) { write(folder / name, bytes); };
}

// Replaces the first `from` of a file, which must be there.
inline void replace_text(const std::filesystem::path& path, const std::string& from, const std::string& to) {
  std::string text = contents(path);
  const size_t found = text.find(from);
  if (found == std::string::npos) throw std::runtime_error(path.string() + ": no " + from);
  write(path, text.replace(found, from.size(), to));
}
inline auto edit_of(const std::string& name, const std::string& from, const std::string& to) {
  return [=](const std::filesystem::path& folder) { replace_text(folder / name, from, to); };
}

// Cuts a file to a share of its bytes.
inline auto cut_of(const std::string& name, double share) {
  return [=](const std::filesystem::path& folder) {
    const auto size = static_cast<double>(std::filesystem::file_size(folder / name));
    std::filesystem::resize_file(folder / name, static_cast<uintmax_t>(size * share));
  };
}

}  // namespace medfusion::tools
