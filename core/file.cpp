#include "core/file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace medfusion::core {

void write_file(const std::string& path, std::string_view bytes, bool flush) {
  namespace fs = std::filesystem;
  std::error_code none;
  const bool link = fs::is_symlink(path, none);
  const bool replaces = fs::exists(path, none) ? fs::is_regular_file(path, none) : !link;
  const std::string target = link && replaces ? fs::canonical(path, none).string() : path;
  const std::string partial = replaces ? target + ".partial" : target;
  std::FILE* file = std::fopen(partial.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (good && flush) good = std::fflush(file) == 0 && (!replaces || ::fsync(::fileno(file)) == 0);
  int reason = good ? 0 : errno;
  if (file != nullptr && std::fclose(file) != 0 && good) {  // a full disk may show only here
    good = false;
    reason = errno;
  }
  if (good && replaces && std::rename(partial.c_str(), target.c_str()) != 0) {
    good = false;
    reason = errno;
  }
  if (!good) {
    if (file != nullptr && replaces) std::remove(partial.c_str());
    throw Error(fmt::format("{}: cannot write: {}", path, std::strerror(reason)));
  }
}

}  // namespace medfusion::core
