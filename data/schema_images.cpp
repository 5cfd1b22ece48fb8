// Size, depth and intensities of images, for the data contract.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/threads.h"
#include "data/schema.h"

namespace medfusion::data {
namespace {

struct ImageFigures {
  int64_t height = 0, width = 0, channels = 0, bits = 8;
  bool colored = false;
  double low = 0.0, high = 0.0, mean = 0.0, bright = 0.0;
};

ImageFigures figures_of(const core::Tensor& pixels) {
  ImageFigures result;
  result.height = pixels.size(0), result.width = pixels.size(1), result.channels = pixels.size(2);
  result.bits = pixels.dtype() == core::DType::u8 ? 8 : 16;
  const int64_t colors = result.channels >= 3 ? 3 : 1;  // without alpha
  const core::Tensor values = pixels.to(core::DType::i32).to_contiguous();
  const auto* const data = values.data<int32_t>();
  std::vector<int64_t> counts(result.bits == 8 ? 256 : 65536, 0);
  const int64_t most = static_cast<int64_t>(counts.size()) - 1;
  for (int64_t pixel = 0; pixel < result.height * result.width; ++pixel) {
    const int32_t* const at = data + pixel * result.channels;
    for (int64_t c = 0; c < colors; ++c) ++counts[static_cast<size_t>(std::clamp<int64_t>(at[c], 0, most))];
    result.colored = result.colored || (colors == 3 && (at[0] != at[1] || at[0] != at[2]));
  }
  const int64_t total = result.height * result.width * colors;
  int64_t seen = 0;
  bool has_bright = false;
  double sum = 0.0;
  for (int64_t value = 0; value <= most; ++value) {
    const int64_t count = counts[static_cast<size_t>(value)];
    if (count == 0) continue;
    const double fraction = static_cast<double>(value) / static_cast<double>(most);
    if (seen == 0) result.low = fraction;
    result.high = fraction;
    sum += fraction * static_cast<double>(count);
    seen += count;
    if (!has_bright && seen * 100 >= total * 99) result.bright = fraction, has_bright = true;
  }
  result.mean = total > 0 ? sum / static_cast<double>(total) : 0.0;
  return result;
}

// `most` of the rows with an image, evenly spread.
std::vector<int64_t> spread(const ImageSource& images, const std::vector<int64_t>& rows, int64_t most,
                            int64_t& present) {
  std::vector<int64_t> with_image, result;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(with_image),
               [&](int64_t row) { return images.present(row); });
  present = static_cast<int64_t>(with_image.size());
  const int64_t count = std::min(most, present);
  for (int64_t i = 0; i < count; ++i) result.push_back(with_image[static_cast<size_t>(i * present / count)]);
  return result;
}

std::vector<ImageFigures> look_at(const ImageSource& images, const std::vector<int64_t>& rows) {
  std::vector<ImageFigures> result(rows.size());
  core::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      result[static_cast<size_t>(i)] = figures_of(images.read(rows[static_cast<size_t>(i)]));
  });
  return result;
}

// Where a fraction is less than half of the least or more than twice the largest.
bool is_far(double value, const ValueRange& range) { return value < range.low / 2 || value > range.high * 2; }

}  // namespace

ImageSchema describe_images(const ImageSource& images, const std::vector<int64_t>& rows, int64_t most) {
  ImageSchema result;
  const std::vector<int64_t> chosen = spread(images, rows, most, result.present);
  for (const ImageFigures& figures : look_at(images, chosen)) {
    ++result.looked_at;
    result.width.add(static_cast<double>(figures.width));
    result.height.add(static_cast<double>(figures.height));
    ++result.channels[figures.channels];
    ++result.bits[figures.bits];
    result.colored += figures.colored ? 1 : 0;
    result.intensity.add(figures.low);
    result.intensity.add(figures.high);
    result.mean.add(figures.mean);
    result.bright.add(figures.bright);
  }
  return result;
}

std::vector<std::string> image_departures(const ImageSchema& schema, const ImageSource& images,
                                          const std::vector<int64_t>& rows, int64_t most) {
  int64_t present = 0, depth = 0, color = 0, range = 0;
  ValueRange mean, bright;
  const std::vector<int64_t> chosen = spread(images, rows, most, present);
  const bool all_gray = schema.colored == 0, all_colored = schema.colored == schema.looked_at;
  for (const ImageFigures& figures : look_at(images, chosen)) {
    depth += schema.bits.contains(figures.bits) ? 0 : 1;
    color += (all_gray && figures.colored) || (all_colored && !figures.colored) ? 1 : 0;
    if (!is_far(figures.mean, schema.mean) && !is_far(figures.bright, schema.bright)) continue;
    ++range;
    mean.add(figures.mean);
    bright.add(figures.bright);
  }
  const std::string of = fmt::format("of {} images looked at", chosen.size());
  std::vector<std::string> lines;
  if (depth > 0) {
    lines.push_back(fmt::format("images: {} {} have another bit depth than training's ({} bits)", depth, of,
                                schema.bits.begin()->first));
  }
  if (color > 0) {
    lines.push_back(fmt::format("images: {} {} are {}, training's were {}", color, of,
                                all_gray ? "in color" : "gray", all_gray ? "gray" : "in color"));
  }
  if (range > 0) {
    lines.push_back(fmt::format(
        "images: {} {} have intensities far from training's: mean {:.3f} to {:.3f} (training {:.3f} to "
        "{:.3f}), 99th percentile {:.3f} to {:.3f} (training {:.3f} to {:.3f})",
        range, of, mean.low, mean.high, schema.mean.low, schema.mean.high, bright.low, bright.high,
        schema.bright.low, schema.bright.high));
  }
  return lines;
}

}  // namespace medfusion::data
