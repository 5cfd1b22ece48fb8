// Files written whole or not at all.
#pragma once

#include <string>
#include <string_view>

namespace medfusion::core {

// Writes `bytes` under a temporary name beside `path`, then renames: a reader sees the old file or the new
// one, never a part. Throws Error naming the file and the reason, leaving nothing behind.
void write_file(const std::string& path, std::string_view bytes);

}  // namespace medfusion::core
