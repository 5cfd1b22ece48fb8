#include "core/file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"

namespace medfusion::core {

void write_file(const std::string& path, std::string_view bytes, bool flush) {
  const std::string partial = path + ".partial";
  std::FILE* file = std::fopen(partial.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (good && flush) good = std::fflush(file) == 0 && ::fsync(::fileno(file)) == 0;
  int reason = good ? 0 : errno;
  if (file != nullptr && std::fclose(file) != 0 && good) {  // a full disk may show only here
    good = false;
    reason = errno;
  }
  if (good && std::rename(partial.c_str(), path.c_str()) != 0) {
    good = false;
    reason = errno;
  }
  if (!good) {
    if (file != nullptr) std::remove(partial.c_str());
    throw Error(fmt::format("{}: cannot write: {}", path, std::strerror(reason)));
  }
}

}  // namespace medfusion::core
