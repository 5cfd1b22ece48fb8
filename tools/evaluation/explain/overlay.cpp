#include "tools/evaluation/explain/overlay.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "data/images/transform.h"
#include "tools/evaluation/explain/saliency.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wchar-subscripts"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb_easy_font.h>
#pragma GCC diagnostic pop

namespace medfusion::tools {
namespace {

using core::Tensor;
using Color = std::array<uint8_t, 3>;

constexpr Color kWhite{255, 255, 255}, kGray{170, 170, 170}, kCyan{0, 229, 255}, kBlack{0, 0, 0};
constexpr int64_t kMargin = 8, kTextScale = 2, kLine = 12 * kTextScale, kBar = 10;

double to_srgb(double linear) {
  const double v = std::clamp(linear, 0.0, 1.0);
  return v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1.0 / 2.4) - 0.055;
}

// An u8 picture [height, width, 3] to draw on.
class Canvas {
 public:
  Canvas(int64_t height, int64_t width) : pixels_(Tensor::zeros({height, width, 3}, core::DType::u8)) {}
  const Tensor& pixels() const { return pixels_; }
  int64_t width() const { return pixels_.size(1); }

  void set(int64_t row, int64_t column, const Color& color) {
    if (row < 0 || column < 0 || row >= pixels_.size(0) || column >= width()) return;
    std::memcpy(pixels_.data<uint8_t>() + (row * width() + column) * 3, color.data(), 3);
  }
  void fill(int64_t row, int64_t column, int64_t height, int64_t width, const Color& color) {
    for (int64_t r = row; r < row + height; ++r) {
      for (int64_t c = column; c < column + width; ++c) set(r, c, color);
    }
  }
  void outline(int64_t top, int64_t left, int64_t bottom, int64_t right, int64_t thick, const Color& color) {
    fill(top, left, thick, right - left, color);
    fill(bottom - thick, left, thick, right - left, color);
    fill(top, left, bottom - top, thick, color);
    fill(top, right - thick, bottom - top, thick, color);
  }
  // Of printable ASCII.
  void text(int64_t row, int64_t column, std::string line, const Color& color) {
    // Each letter is made of at most about 20 strokes of four corners of 16 bytes.
    std::vector<std::array<float, 4>> corners(line.size() * 128 + 4);
    const int strokes = stb_easy_font_print(0.0F, 0.0F, line.data(), nullptr, corners.data(),
                                            static_cast<int>(corners.size() * sizeof(corners[0])));
    for (size_t i = 0; i < static_cast<size_t>(strokes); ++i) {
      const auto& first = corners[4 * i];
      const auto& last = corners[4 * i + 2];
      const auto at = [](float v) { return kTextScale * std::lround(v); };
      fill(row + at(first[1]), column + at(first[0]), at(last[1] - first[1]), at(last[0] - first[0]), color);
    }
  }

 private:
  Tensor pixels_;
};

// In printable ASCII, cut to the width.
std::string fitting(std::string line, int64_t width) {
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < 32 || c > 126; }, '?');
  while (line.size() > 1 && stb_easy_font_width(line.data()) * kTextScale > width) line.pop_back();
  return line;
}

// Gray or color in [0, 1] at the pixels of the picture.
Color color_at(const Tensor& image, int64_t row, int64_t column) {
  const int64_t channels = image.size(2);
  const float* at = image.data<float>() + (row * image.size(1) + column) * channels;
  Color color{};
  for (size_t k = 0; k < 3; ++k) {
    const float value = at[channels == 1 ? 0 : k];
    color[k] = static_cast<uint8_t>(std::lround(255.0F * std::clamp(value, 0.0F, 1.0F)));
  }
  return color;
}

Color blend(const Color& below, const Color& above, double share) {
  Color color{};
  for (size_t k = 0; k < 3; ++k) {
    color[k] = static_cast<uint8_t>(std::lround(below[k] * (1.0 - share) + above[k] * share));
  }
  return color;
}

void draw_boxes(Canvas& canvas, const std::vector<FindingBox>& boxes, int64_t left, int64_t width,
                int64_t height) {
  for (const FindingBox& box : boxes) {
    const auto x = [&](double v) { return left + std::lround(v * static_cast<double>(width)); };
    const auto y = [&](double v) { return std::lround(v * static_cast<double>(height)); };
    canvas.outline(y(box.top) - 1, x(box.left) - 1, y(box.bottom) + 1, x(box.right) + 1, 2, kCyan);
  }
}

void draw_cross(Canvas& canvas, int64_t row, int64_t column) {
  constexpr int64_t kArm = 7;
  canvas.fill(row - 2, column - kArm - 1, 5, 2 * kArm + 3, kBlack);
  canvas.fill(row - kArm - 1, column - 2, 2 * kArm + 3, 5, kBlack);
  canvas.fill(row - 1, column - kArm, 3, 2 * kArm + 1, kWhite);
  canvas.fill(row - kArm, column - 1, 2 * kArm + 1, 3, kWhite);
}

// The image in `canvas` at column `left`, under the map (in units of its largest value) where there is one.
void draw_picture(Canvas& canvas, int64_t left, const Tensor& image, const Tensor& map) {
  const float largest = map.defined() ? peak_of(map).value : 0.0F;
  for (int64_t row = 0; row < image.size(0); ++row) {
    for (int64_t column = 0; column < image.size(1); ++column) {
      Color color = color_at(image, row, column);
      if (largest > 0.0F) {
        const float value = map.data<float>()[row * image.size(1) + column] / largest;
        color = blend(color, map_color(value), 0.75 * std::sqrt(std::max(0.0F, value)));
      }
      canvas.set(row, left + column, color);
    }
  }
}

}  // namespace

Color map_color(double value) {
  const double t = std::isnan(value) ? 0.0 : std::clamp(value, 0.0, 1.0);
  // Oklab: lightness even, hue from violet over red to yellow, chroma small at both ends.
  const double lightness = 0.22 + 0.73 * t;
  const double hue = (-60.0 + 165.0 * t) * std::numbers::pi / 180.0;
  const double chroma = 0.06 + 0.13 * std::sin(std::numbers::pi * std::pow(t, 0.8));
  const double a = chroma * std::cos(hue), b = chroma * std::sin(hue);
  const auto cube = [](double v) { return v * v * v; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  const std::array linear{4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
                          -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
                          -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
  Color color{};
  for (size_t k = 0; k < 3; ++k) color[k] = static_cast<uint8_t>(std::lround(255.0 * to_srgb(linear[k])));
  return color;
}

Tensor draw_overlay(const Tensor& image, const Tensor& map, const OverlayOptions& options) {
  MEDFUSION_CHECK(image.rank() == 3 && (image.size(2) == 1 || image.size(2) == 3),
                  "overlay: expected an image [h, w, 1 or 3], got {}", image.shape().str());
  const int64_t width = options.pixels;
  const int64_t height =
      std::max<int64_t>(1, std::lround(static_cast<double>(width) * static_cast<double>(image.size(0)) /
                                       static_cast<double>(image.size(1))));
  const Tensor picture = data::resize(image, height, width).to_contiguous();
  const Tensor over = map.defined() ? upsample_map(map, height, width) : Tensor();
  const int64_t pictures = map.defined() ? 2 : 1;
  const int64_t legend = static_cast<int64_t>(options.lines.size()) * kLine + 2 * kMargin;
  Canvas canvas(height + (legend > 2 * kMargin || map.defined() ? legend + kBar + kMargin : 0),
                pictures * width + (pictures - 1) * kMargin);
  draw_picture(canvas, 0, picture, {});
  draw_boxes(canvas, options.boxes, 0, width, height);
  if (map.defined()) {
    const int64_t left = width + kMargin;
    draw_picture(canvas, left, picture, over);
    draw_boxes(canvas, options.boxes, left, width, height);
    const Peak peak = peak_of(map);
    if (options.mark_peak && peak.value > 0.0F) {
      const auto at = [](int64_t place, int64_t from, int64_t to) {
        return std::lround((static_cast<double>(place) + 0.5) * static_cast<double>(to) /
                           static_cast<double>(from));
      };
      draw_cross(canvas, at(peak.row, map.size(0), height), left + at(peak.column, map.size(1), width));
    }
    for (int64_t column = 0; column < width; ++column) {
      const double value = (static_cast<double>(column) + 0.5) / static_cast<double>(width);
      canvas.fill(height + kMargin, left + column, kBar, 1, map_color(value));
    }
  }
  int64_t row = height + 2 * kMargin + kBar;
  for (const std::string& line : options.lines) {
    canvas.text(row, kMargin, fitting(line, canvas.width() - 2 * kMargin),
                row == height + 2 * kMargin + kBar ? kWhite : kGray);
    row += kLine;
  }
  return canvas.pixels();
}

}  // namespace medfusion::tools
