// The file of a pack (data/pack.h), mapped into memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "data/pack.h"

namespace medfusion::data {

inline constexpr const char* kPackKind = "medfusion pack";

// What a pack states of a row's pixels; never 0.
uint64_t pack_checksum(const void* pixels, int64_t bytes);

class PackFile {
 public:
  using Metadata = std::map<std::string, std::string>;

  // Throws core::InputError where the file is not there or cannot be read.
  static PackFile open(const std::string& path);
  ~PackFile();
  PackFile(PackFile&& other) noexcept;
  PackFile& operator=(PackFile&&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  // Whether these bytes are at a place of the file.
  bool holds(int64_t place, std::string_view bytes) const;
  // Of the header; empty where the file is no safetensors file.
  Metadata metadata() const;

  // Of a file that is as large as the layout says.
  uint64_t checksum(const PackLayout& layout, int64_t row) const;
  const uint8_t* pixels(const PackLayout& layout, int64_t row) const;
  bool is_finished(const PackLayout& layout, int64_t row) const;  // the pixels have their checksum

  // Pages are read where they are asked for, and no others.
  void read_at_random() const;
  // Asks for the pages of these bytes at once.
  void fetch(const uint8_t* from, int64_t bytes) const;

 private:
  PackFile(std::string path, int64_t size, const uint8_t* bytes)
      : path_(std::move(path)), size_(size), bytes_(bytes) {}

  std::string path_;
  int64_t size_;
  const uint8_t* bytes_;  // null where the file is empty
};

inline bool is_pack(const PackFile::Metadata& metadata) {
  const auto found = metadata.find("kind");
  return found != metadata.end() && found->second == kPackKind;
}

}  // namespace medfusion::data
