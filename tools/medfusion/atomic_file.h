// Files that are whole or not there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace medfusion::tools {

// Writes `path` in one step: to path + ".tmp", flushed to the disk, then renamed. Throws core::Error naming
// the file where it cannot be written in full (e.g. a full disk); then no temporary file is left, and an
// older file of that name is untouched.
void write_file(const std::filesystem::path& path, std::string_view contents);

// Adds `text` to the end of a file, which is made where it is missing. Throws core::Error where it cannot be
// written in full; the file then ends as it did before.
void append_to_file(const std::filesystem::path& path, std::string_view text);

// The whole file. Throws core::InputError naming it where it cannot be read.
std::string read_file(const std::filesystem::path& path);

}  // namespace medfusion::tools
