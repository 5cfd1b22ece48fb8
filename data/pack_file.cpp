#include "data/pack_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace medfusion::data {

uint64_t pack_checksum(const void* pixels, int64_t bytes) {
  return std::max<uint64_t>(1, XXH3_64bits(pixels, static_cast<size_t>(bytes)));
}

PackFile PackFile::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    core::throw_input_error({path}, "cannot open the pack: {}", std::generic_category().message(errno));
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  void* bytes = nullptr;
  if (regular && status.st_size > 0)
    bytes = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0);
  const int error = errno;
  ::close(descriptor);
  if (!regular) core::throw_input_error({path}, "expected a file of medfusion pack, this is no regular file");
  if (bytes == MAP_FAILED)
    core::throw_input_error({path}, "cannot map the pack: {}", std::generic_category().message(error));
  return {path, status.st_size, static_cast<const uint8_t*>(bytes)};
}

PackFile::~PackFile() {
  if (bytes_ != nullptr) ::munmap(const_cast<uint8_t*>(bytes_), static_cast<size_t>(size_));
}

PackFile::PackFile(PackFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), bytes_(std::exchange(other.bytes_, nullptr)) {}

bool PackFile::holds(int64_t place, std::string_view bytes) const {
  return static_cast<int64_t>(bytes.size()) <= size_ - place &&
         std::memcmp(bytes_ + place, bytes.data(), bytes.size()) == 0;
}

PackFile::Metadata PackFile::metadata() const {
  constexpr uint64_t kMost = 1 << 20;  // a pack's header is smaller by far
  uint64_t length = 0;
  if (size_ < static_cast<int64_t>(sizeof(length))) return {};
  std::memcpy(&length, bytes_, sizeof(length));
  if (length > kMost || static_cast<int64_t>(length + sizeof(length)) > size_) return {};
  const char* const text = reinterpret_cast<const char*>(bytes_) + sizeof(length);
  const auto header = nlohmann::json::parse(text, text + length, nullptr, false);
  Metadata result;
  if (!header.is_object() || !header.contains("__metadata__") || !header["__metadata__"].is_object())
    return {};
  for (const auto& [key, value] : header["__metadata__"].items()) {
    if (value.is_string()) result[key] = value.get<std::string>();
  }
  return result;
}

uint64_t PackFile::checksum(const PackLayout& layout, int64_t row) const {
  uint64_t result = 0;
  std::memcpy(&result, bytes_ + layout.checksums_at + row * static_cast<int64_t>(sizeof(result)),
              sizeof(result));
  return result;
}

const uint8_t* PackFile::pixels(const PackLayout& layout, int64_t row) const {
  return bytes_ + layout.images_at + row * layout.image_bytes();
}

bool PackFile::is_finished(const PackLayout& layout, int64_t row) const {
  const uint64_t stated = checksum(layout, row);
  return stated != 0 && stated == pack_checksum(pixels(layout, row), layout.image_bytes());
}

void PackFile::read_at_random() const {
  ::madvise(const_cast<uint8_t*>(bytes_), static_cast<size_t>(size_), MADV_RANDOM);
}

void PackFile::fetch(const uint8_t* from, int64_t bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(from) / page * page;
  const size_t length = reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes) - first;
  ::madvise(reinterpret_cast<void*>(first), length, MADV_WILLNEED);
}

}  // namespace medfusion::data
