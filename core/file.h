// Files written whole or not at all.
#pragma once

#include <string>
#include <string_view>

namespace medfusion::core {

// Writes `bytes` under a temporary name beside `path`, then renames: a reader sees the old file or the new
// one, never a part. A link is followed; what is no regular file (a device, a pipe) is written to as it is.
// Throws Error naming the file and the reason, leaving nothing behind. With `flush` the
// bytes are on the disk before they get their name, so that a power cut leaves no part of them either.
void write_file(const std::string& path, std::string_view bytes, bool flush = false);

}  // namespace medfusion::core
