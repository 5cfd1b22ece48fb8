// What a file really is that was given for another: its first bytes say it.
#pragma once

#include <string>
#include <string_view>

namespace medfusion::core {

// "an HTML page", "a git-lfs pointer ...", for messages; empty for an unknown kind. `start` is the beginning
// of the file, of which 512 bytes are enough.
std::string kind_of_file(std::string_view start);

}  // namespace medfusion::core
