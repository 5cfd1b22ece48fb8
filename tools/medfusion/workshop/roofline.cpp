#include "tools/medfusion/workshop/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/evaluation/report/html.h"

namespace medfusion::tools {
namespace {

constexpr double kWidth = 900, kHeight = 560, kLeft = 80, kRight = 260, kTop = 50, kBottom = 60;

// A logarithmic axis over whole decades.
struct Axis {
  int first, last;
  double from, to;
  Axis(double low, double high, double from_, double to_)
      : first(static_cast<int>(std::floor(std::log10(low)))),
        last(std::max(static_cast<int>(std::ceil(std::log10(high))), first + 1)),
        from(from_),
        to(to_) {}
  double at(double value) const { return from + (std::log10(value) - first) / (last - first) * (to - from); }
};

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' {}/>\n", x1, y1, x2, y2, style);
}

std::string label(double x, double y, const std::string& text, const char* style) {
  return fmt::format("<text x='{:.1f}' y='{:.1f}' {}>{}</text>\n", x, y, style, html_escape(text));
}

constexpr const char* kLine = "stroke='#333' stroke-width='2'";

struct Roof {
  const char* name;
  double at;  // FLOP/s
};
std::vector<Roof> roofs_of(const kernels::Ceilings& ceilings, const std::vector<RooflinePoint>& shown) {
  std::vector<Roof> roofs;
  const auto is = [](core::DType precision) {
    return [precision](const RooflinePoint& p) { return p.precision == precision; };
  };
  const bool bf16 =
      ceilings.bf16_flops_per_second > 0.0 && std::any_of(shown.begin(), shown.end(), is(core::DType::bf16));
  if (!bf16 || std::any_of(shown.begin(), shown.end(), is(core::DType::f32)))
    roofs.push_back({"f32", ceilings.flops_per_second});
  if (bf16) roofs.push_back({"bf16", ceilings.bf16_flops_per_second});
  return roofs;
}

// A line and a number at each decade, and what the axes are.
std::string grid_of(const Axis& x, const Axis& y) {
  std::string svg;
  for (int decade = x.first; decade <= x.last; ++decade) {
    const double at = x.at(std::pow(10.0, decade));
    svg += line(at, kTop, at, kHeight - kBottom, "stroke='#ddd'");
    svg += label(at, kHeight - kBottom + 18, fmt::format("{:g}", std::pow(10.0, decade)),
                 "text-anchor='middle'");
  }
  for (int decade = y.first; decade <= y.last; ++decade) {
    const double at = y.at(std::pow(10.0, decade));
    svg += line(kLeft, at, kWidth - kRight, at, "stroke='#ddd'");
    svg += label(kLeft - 8, at + 4, fmt::format("{:g}", std::pow(10.0, decade - 9)), "text-anchor='end'");
  }
  svg += label((kLeft + kWidth - kRight) / 2, kHeight - 18, "FLOP per byte", "text-anchor='middle'");
  svg +=
      fmt::format("<text transform='translate(22 {:.1f}) rotate(-90)' text-anchor='middle'>GFLOP/s</text>\n",
                  (kTop + kHeight - kBottom) / 2);
  return svg;
}

// The thin line that work within the caches may reach, up to the roof, and its words.
std::string cache_slope(const Axis& x, const Axis& y, double bytes_per_second, double roof, double text) {
  const double left = std::max(std::pow(10.0, x.first), std::pow(10.0, y.first) / bytes_per_second);
  const double right = std::max(left, roof / bytes_per_second);
  return line(x.at(left), y.at(left * bytes_per_second), x.at(right), y.at(right * bytes_per_second),
              "stroke='#333'") +
         label(kWidth - kRight + 8, text, fmt::format("thin: cache {:.1f} GB/s", bytes_per_second * 1e-9),
               "fill='#333'");
}

}  // namespace

std::string roofline_svg(const std::string& title, const kernels::Ceilings& ceilings,
                         const std::vector<RooflinePoint>& points) {
  std::vector<RooflinePoint> shown = points;
  std::erase_if(shown,
                [](const RooflinePoint& p) { return p.flops_per_byte <= 0.0 || p.flops_per_second <= 0.0; });
  const std::vector<Roof> roofs = roofs_of(ceilings, shown);
  const auto [lowest, highest] = std::minmax_element(
      roofs.begin(), roofs.end(), [](const Roof& a, const Roof& b) { return a.at < b.at; });
  const double ridge = highest->at / ceilings.bytes_per_second;
  double x_low = lowest->at / ceilings.bytes_per_second / 100, x_high = ridge * 10, y_low = lowest->at / 1000;
  for (const RooflinePoint& p : shown) {
    x_low = std::min(x_low, p.flops_per_byte);
    x_high = std::max(x_high, p.flops_per_byte);
    y_low = std::min(y_low, p.flops_per_second);
  }
  const Axis x(x_low, x_high, kLeft, kWidth - kRight);
  const Axis y(y_low, highest->at * 1.5, kHeight - kBottom, kTop);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' "
      "font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n",
      kWidth, kHeight);
  svg += label(kLeft, 26, title, "font-size='16' font-weight='bold'");
  svg += grid_of(x, y);
  const double left = std::pow(10.0, x.first), right = std::pow(10.0, x.last);
  const double corner = std::max(left, std::pow(10.0, y.first) / ceilings.bytes_per_second);
  svg += line(x.at(corner), y.at(corner * ceilings.bytes_per_second), x.at(ridge), y.at(highest->at), kLine);
  double text = kTop + 4;
  for (const Roof& roof : roofs) {
    svg += line(x.at(roof.at / ceilings.bytes_per_second), y.at(roof.at), x.at(right), y.at(roof.at), kLine);
    svg += label(kWidth - kRight + 8, text,
                 fmt::format("roof: {} {} {:.0f} GFLOP/s", roof.name,
                             ceilings.by_size.empty() ? "matrix product" : "multiply-adds", roof.at * 1e-9),
                 "fill='#333'");
    text += 18;
  }
  svg += label(kWidth - kRight + 8, text,
               fmt::format("slope: {} {:.1f} GB/s", ceilings.by_size.empty() ? "copy" : "memory",
                           ceilings.bytes_per_second * 1e-9),
               "fill='#333'");
  if (!ceilings.by_size.empty()) {
    text += 18;
    svg += cache_slope(x, y, ceilings.by_size.front().bytes_per_second, highest->at, text);
  }
  constexpr const char* kColors[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf"};
  for (size_t i = 0; i < shown.size(); ++i) {
    const char* color = kColors[i % std::size(kColors)];
    const double row = text + 28 + 17 * static_cast<double>(i);
    svg += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='5' fill='{}'><title>{}</title></circle>\n",
                       x.at(shown[i].flops_per_byte), y.at(shown[i].flops_per_second), color,
                       html_escape(shown[i].name));
    svg +=
        fmt::format("<circle cx='{}' cy='{:.1f}' r='4' fill='{}'/>\n", kWidth - kRight + 14, row - 4, color);
    svg += label(kWidth - kRight + 24, row, shown[i].name, "font-size='10'");
  }
  return svg + "</svg>\n";
}

}  // namespace medfusion::tools
