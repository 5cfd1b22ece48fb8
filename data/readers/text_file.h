// Whole text files, plain or gzip-compressed, and the hash of what was read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/readers/file_limits.h"

namespace medfusion::data {

// The content of a file; a gzip file is unpacked whatever its name. Throws core::InputError naming the file
// where it is missing, unreadable, cut short, or holds more than `most_bytes` when it is unpacked.
std::string read_text_file(const std::string& path, int64_t most_bytes = FileLimits().table_bytes());

struct Line {
  std::string text;  // without the line end and surrounding blanks
  int64_t number = 0;
};

// The lines of a list file that are not blank. CRLF and a byte order mark are accepted.
std::vector<Line> read_lines(const std::string& path);

// `folder/name`, or `folder/name.gz` where only that exists; empty where neither does.
std::string find_text_file(const std::filesystem::path& folder, const std::string& name);

// The offset of the first byte that is not part of well-formed UTF-8 (RFC 3629); npos where all is.
size_t find_invalid_utf8(std::string_view text);

// xxHash64 over a sequence of byte strings, each preceded by its length, so that moving a byte from one to
// the next changes the result.
class Hasher {
 public:
  Hasher();
  void add(std::string_view bytes);
  void add(int64_t value);
  uint64_t digest() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace medfusion::data
