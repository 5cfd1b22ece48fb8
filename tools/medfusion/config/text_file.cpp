#include "tools/medfusion/config/text_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include "core/error.h"

namespace medfusion::tools {
namespace {

std::string reason_of(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw core::Error(fmt::format("{}: cannot write: {}", path.string(), reason_of(error)));
}

// False with errno set where not all could be written.
bool write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

void append_to_file(const std::filesystem::path& path, std::string_view text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  struct stat before {};
  if (file < 0 || ::fstat(file, &before) != 0) fail(path, errno);
  const bool written = write_all(file, text);
  int error = errno;
  const bool cut = !written && S_ISREG(before.st_mode) && ::ftruncate(file, before.st_size) != 0;
  const bool closed = ::close(file) == 0;
  if (written && !closed) error = errno;
  if (cut) {
    throw core::Error(
        fmt::format("{}: cannot write: {}; its last line is cut short", path.string(), reason_of(error)));
  }
  if (!written || !closed) fail(path, error);
}

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

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return '"' + replace_all(text, "\"", "\"\"") + '"';
}

std::string read_file(const std::filesystem::path& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure))
    core::throw_input_error({path.string()}, "expected a file, got a folder");
  errno = 0;
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || (text.fail() && errno != 0)) {
    core::throw_input_error({path.string()}, "cannot be read: " + reason_of(errno));
  }
  return text.str();
}

}  // namespace medfusion::tools
