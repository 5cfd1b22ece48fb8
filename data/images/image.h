// Image files in and out.
#pragma once

#include <string>

#include "core/tensor.h"
#include "data/images/image_limits.h"

namespace medfusion::data {

// Decodes a PNG or JPEG file to [height, width, channels]: u8, or i32 in 0..65535 for a 16-bit PNG. channels
// is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA); palettes become RGB or RGBA, 1-, 2- and 4-bit grays are
// scaled to 0..255, CMYK and YCCK JPEGs of Adobe's convention (inverted) become RGB. Turned upright by the
// Exif orientation. Color profiles and gamma chunks are not applied. Throws core::InputError naming the file
// and the reason where it is missing, of another format, in inks of another convention, damaged (PNG
// checksums are verified), cut short anywhere, larger than `most_pixels`, or larger than the file can hold.
// Safe to call from several threads.
core::Tensor decode_image(const std::string& path, int64_t most_pixels = kMaxImagePixels);

// Writes u8 pixels [height, width, channels], channels 1..4, as an 8-bit PNG. The bytes depend on the pixels
// only. The file appears under its name when it is complete; throws core::Error where it cannot be written.
void write_png(const std::string& path, const core::Tensor& pixels);

}  // namespace medfusion::data
