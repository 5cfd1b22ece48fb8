#include "data/readers/text_file.h"

#include <xxhash.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "data/readers/csv.h"

namespace medfusion::data {

std::string read_text_file(const std::string& path, int64_t most_bytes) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    core::throw_input_error({path}, "expected a file, got a folder");
  }
  errno = 0;
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) core::throw_input_error({path}, "cannot open: {}", std::strerror(errno));
  std::string text;
  std::array<char, 1 << 16> buffer;
  int count = 0;
  while ((count = gzread(file.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
    if (static_cast<int64_t>(text.size()) > most_bytes) {
      core::throw_input_error({path}, "expected at most {} MiB of text (data.max_table_megabytes), got more",
                              most_bytes / kMegabyte);
    }
  }
  // A stream that ends early reads as a short file: only gzerror tells.
  int code = Z_OK;
  const char* message = gzerror(file.get(), &code);
  if (code != Z_OK) {
    core::throw_input_error(
        {path}, code == Z_BUF_ERROR ? "the gzip file is cut short" : fmt::format("cannot read: {}", message));
  }
  return text;
}

std::vector<Line> read_lines(const std::string& path) {
  const std::string text = read_text_file(path);
  std::string_view rest = text;
  if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
  std::vector<Line> lines;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trim(rest.substr(0, end));
    if (!line.empty()) lines.push_back({std::string(line), number});
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

std::string find_text_file(const std::filesystem::path& folder, const std::string& name) {
  for (const char* suffix : {"", ".gz"}) {
    const std::filesystem::path path = folder / (name + suffix);
    if (std::filesystem::exists(path)) return path.string();
  }
  return "";
}

size_t find_invalid_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  for (size_t i = 0; i < text.size();) {
    const unsigned lead = byte(i);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    if (length == 0) return i;
    // The second byte excludes overlong forms, surrogates and code points past U+10FFFF.
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (length > 1 && (byte(i + 1) < low || byte(i + 1) > high)) return i;
    for (size_t j = 2; j < length; ++j) {
      if ((byte(i + j) & 0xC0U) != 0x80U) return i;
    }
    i += length;
  }
  return std::string_view::npos;
}

struct Hasher::State {
  XXH64_state_t* state = XXH64_createState();
  State() { XXH64_reset(state, 0); }
  ~State() { XXH64_freeState(state); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Hasher::Hasher() : state_(std::make_shared<State>()) {}

void Hasher::add(std::string_view bytes) {
  add(static_cast<int64_t>(bytes.size()));
  XXH64_update(state_->state, bytes.data(), bytes.size());
}

void Hasher::add(int64_t value) {
  std::array<unsigned char, 8> bytes;  // little-endian on every machine
  for (size_t i = 0; i < 8; ++i)
    bytes[i] = static_cast<unsigned char>(static_cast<uint64_t>(value) >> (8 * i));
  XXH64_update(state_->state, bytes.data(), bytes.size());
}

uint64_t Hasher::digest() const { return XXH64_digest(state_->state); }

}  // namespace medfusion::data
