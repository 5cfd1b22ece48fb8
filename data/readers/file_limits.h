// How much a file of the data may hold, so that one that lies about its size does not take all memory; and
// what is done about images that cannot be read.
#pragma once

#include <array>
#include <cstdint>

#include "core/settings.h"
#include "data/images/image_limits.h"

namespace medfusion::data {

inline constexpr int64_t kMegabyte = int64_t{1} << 20;

inline constexpr std::array kOnErrors{"fail", "skip"};
enum class OnError : uint8_t {
  fail,
  skip,  // leaves out the rows whose image cannot be read
};
constexpr core::Names names_of(OnError) { return kOnErrors; }

struct FileLimits {
  int64_t image_pixels = kMaxImagePixels;
  int64_t table_megabytes = 1024;
  int64_t line_bytes = kMegabyte;
  int64_t array_megabytes = 16384;

  int64_t table_bytes() const { return table_megabytes * kMegabyte; }
  int64_t array_bytes() const { return array_megabytes * kMegabyte; }

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("max_image_pixels", image_pixels, Range::in(1, 500'000'000),
          "Images of more pixels (width times height) are refused before they are decoded.");
    visit("max_table_megabytes", table_megabytes, Range::in(1, 1 << 20),
          "Tables and lists of more MiB, unpacked, are refused.");
    visit("max_line_bytes", line_bytes, Range::in(1, 1 << 30), "Tables with a longer line are refused.");
    visit("max_array_megabytes", array_megabytes, Range::in(1, 1 << 24),
          "`medmnist`: arrays of more MiB, unpacked, are refused.");
  }
};

}  // namespace medfusion::data
