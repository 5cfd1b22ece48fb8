// Text: reading files (core/file.h writes them), and the forms that text takes in JSON, CSV and shells.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace medfusion::tools {

// JSON as text; bytes that are not UTF-8 (of a label or a file name) become U+FFFD. indent -1: on one line.
std::string to_text(const nlohmann::ordered_json& value, int indent = -1);

// null where there is no value.
template <class T>
nlohmann::ordered_json or_null(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

// `text` with every `from` in it replaced.
std::string replace_all(std::string text, std::string_view from, std::string_view to);

// The parts of `text` between separators, which may be empty: at least one.
std::vector<std::string_view> split(std::string_view text, char separator);

// Text as one word of a shell.
std::string in_single_quotes(const std::string& text);
// The same, without quotes where a shell needs none.
std::string shell_word(const std::string& text);

// Text as a cell of a CSV file, quoted where it must be (RFC 4180).
std::string csv_cell(const std::string& text);

// The whole file. Throws core::InputError naming it where it cannot be read, or holds more than 1 GiB.
std::string read_file(const std::filesystem::path& path);

// `text` as JSON. Throws core::InputError naming `file` where it is none, with its line, and where lists and
// objects lie in each other more than 100 deep.
nlohmann::ordered_json parse_json(const std::string& text, const std::string& file);

}  // namespace medfusion::tools
