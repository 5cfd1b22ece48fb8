// Reading text files, and adding to them; core/file.h writes them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace medfusion::tools {

// Adds `text` to the end of a file, which is made where it is missing. Throws core::Error where it cannot be
// written in full; the file then ends as it did before.
void append_to_file(const std::filesystem::path& path, std::string_view text);

// JSON as text; bytes that are not UTF-8 (of a label or a file name) become U+FFFD. indent -1: on one line.
std::string to_text(const nlohmann::ordered_json& value, int indent = -1);

// Text as a cell of a CSV file, quoted where it must be (RFC 4180).
std::string csv_cell(const std::string& text);

// The whole file. Throws core::InputError naming it where it cannot be read.
std::string read_file(const std::filesystem::path& path);

}  // namespace medfusion::tools
