#include "tools/medfusion/config/text_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "core/error.h"

namespace medfusion::tools {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;  // of a file that is read whole
constexpr int kDeepest = 100;                   // JSON; what is deeper would exhaust the stack

std::string reason_of(int error) { return std::generic_category().message(error); }

}  // namespace

std::string to_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t end = 0; (end = text.find(separator)) != std::string_view::npos; text.remove_prefix(end + 1)) {
    parts.push_back(text.substr(0, end));
  }
  parts.push_back(text);
  return parts;
}

std::string in_single_quotes(const std::string& text) { return "'" + replace_all(text, "'", "'\\''") + "'"; }

std::string shell_word(const std::string& text) {
  const bool plain = text.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         "_-./+:,@%") == std::string::npos;
  return plain && !text.empty() ? text : in_single_quotes(text);
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return '"' + replace_all(text, "\"", "\"\"") + '"';
}

std::string read_file(const std::filesystem::path& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure))
    core::throw_input_error({path.string()}, "expected a file, got a folder");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (file) {
    file.read(buffer.data(), buffer.size());
    text.append(buffer.data(), static_cast<size_t>(file.gcount()));
    if (text.size() > kMostBytes)
      core::throw_input_error({path.string()}, "expected a file of at most {} MiB", kMostBytes >> 20);
  }
  if (!file.eof()) core::throw_input_error({path.string()}, "cannot be read: " + reason_of(errno));
  return text;
}

nlohmann::ordered_json parse_json(const std::string& text, const std::string& file) {
  const auto check_depth = [&](int depth, nlohmann::ordered_json::parse_event_t /*event*/,
                               nlohmann::ordered_json& /*value*/) {
    if (depth > kDeepest) {
      core::throw_input_error({file}, "expected lists and objects in each other at most {} deep, got more",
                              kDeepest);
    }
    return true;
  };
  try {
    return nlohmann::ordered_json::parse(text, check_depth);
  } catch (const nlohmann::json::parse_error& error) {
    // Its message repeats the place, counted in bytes of the whole text; the line is what helps.
    const size_t byte = std::min(text.size(), error.byte > 0 ? error.byte - 1 : 0);
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(byte), '\n');
    core::throw_input_error({file, line}, "expected JSON, the file is damaged");
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({file}, "expected JSON, it holds a number that is too large");
  }
}

}  // namespace medfusion::tools
