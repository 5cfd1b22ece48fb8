#include "tools/evaluation/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tools/evaluation/html.h"

namespace medfusion::tools {
namespace {

// Okabe and Ito's palette, which most color-blind readers can tell apart.
constexpr std::array kPalette{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

constexpr double kWidth = 420, kLeft = 60, kRight = 12, kTop = 30, kBottom = 44, kLegendLine = 16;

struct Axis {
  double low, high, from, to;
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }

  // Round numbers, about five of them.
  std::vector<double> ticks() const {
    const double rough = (high - low) / 5;
    const double power = std::pow(10.0, std::floor(std::log10(rough)));
    double step = power;
    for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0}) {
      step = factor * power;
      if (step >= rough * 0.999) break;
    }
    std::vector<double> result;
    for (auto i = static_cast<int64_t>(std::ceil(low / step - 1e-9));
         static_cast<double>(i) * step <= high + step * 1e-9; ++i) {
      result.push_back(static_cast<double>(i) * step);
    }
    return result;
  }
};

bool finite(const std::pair<double, double>& point) {
  return std::isfinite(point.first) && std::isfinite(point.second);
}

// The given range, or that of the points with a little air.
std::pair<double, double> range_of(std::pair<double, double> range, const std::vector<ChartSeries>& series,
                                   bool y) {
  if (range.first != range.second) return range;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const ChartSeries& each : series) {
    for (const auto& point : each.points) {
      if (!finite(point)) continue;
      low = std::min(low, y ? point.second : point.first);
      high = std::max(high, y ? point.second : point.first);
    }
  }
  if (low > high) return {0.0, 1.0};
  if (low == high) return {low - 0.5, high + 0.5};
  const double air = y ? 0.05 * (high - low) : 0.0;
  return {low - air, high + air};
}

std::string text(double x, double y, const std::string& content, const char* style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, html_escape(content));
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2,
                     style);
}

std::string open_svg(double width, double height, const std::string& title) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\"><title>{}</title>\n",
      width, height, html_escape(title));
}

std::string grid(const Axis& x, const Axis& y, const Chart& chart) {
  std::string svg;
  for (const double tick : x.ticks()) {
    svg += line(x.at(tick), y.from, x.at(tick), y.to, "stroke=\"#e3e7ec\"");
    svg += text(x.at(tick), y.from + 16, fmt::format("{:g}", std::abs(tick) < 1e-12 ? 0.0 : tick),
                "text-anchor=\"middle\" fill=\"#5b6675\"");
  }
  for (const double tick : y.ticks()) {
    svg += line(x.from, y.at(tick), x.to, y.at(tick), "stroke=\"#e3e7ec\"");
    svg += text(x.from - 6, y.at(tick) + 4, fmt::format("{:g}", std::abs(tick) < 1e-12 ? 0.0 : tick),
                "text-anchor=\"end\" fill=\"#5b6675\"");
  }
  svg += text((x.from + x.to) / 2, y.from + 34, chart.x_label, "text-anchor=\"middle\"");
  svg +=
      fmt::format("<text transform=\"translate(12 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                  (y.from + y.to) / 2, html_escape(chart.y_label));
  return svg;
}

std::string draw(const ChartSeries& series, const std::string& color, const Axis& x, const Axis& y) {
  std::string svg, path;
  bool pen = false;
  for (const auto& point : series.points) {
    if (!finite(point)) {
      pen = false;
      continue;
    }
    const double px = x.at(point.first), py = y.at(std::clamp(point.second, y.low, y.high));
    path += fmt::format("{}{:.1f} {:.1f}", pen ? "L" : "M", px, py);
    pen = true;
    if (series.marks)
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", px, py, color);
  }
  if (path.empty()) return svg;
  return svg + fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{}/>\n", path,
                           color, series.dashed ? " stroke-dasharray=\"5 4\"" : "");
}

}  // namespace

std::string chart_svg(const Chart& chart) {
  const auto named = std::count_if(chart.series.begin(), chart.series.end(),
                                   [](const ChartSeries& series) { return !series.name.empty(); });
  const double plot = chart.square ? kWidth - kLeft - kRight : 220;
  const double height = kTop + plot + kBottom + kLegendLine * static_cast<double>(named);
  const auto [x_low, x_high] = range_of(chart.x_range, chart.series, false);
  const auto [y_low, y_high] = range_of(chart.y_range, chart.series, true);
  const Axis x{x_low, x_high, kLeft, kWidth - kRight}, y{y_low, y_high, kTop + plot, kTop};
  std::string svg = open_svg(kWidth, height, chart.title);
  svg += text(kLeft, 18, chart.title, "font-weight=\"600\" font-size=\"13\"") + grid(x, y, chart);
  size_t next = 0;
  double legend = kTop + plot + kBottom + 8;
  for (const ChartSeries& series : chart.series) {
    const std::string color = series.color.empty() ? kPalette[next++ % kPalette.size()] : series.color;
    svg += draw(series, color, x, y);
    if (series.name.empty()) continue;
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{1:.1f}\" stroke=\"{3}\" "
        "stroke-width=\"2\"{4}/>\n",
        kLeft, legend - 4, kLeft + 22, color, series.dashed ? " stroke-dasharray=\"5 4\"" : "");
    svg += text(kLeft + 30, legend, series.name, "");
    legend += kLegendLine;
  }
  return svg + "</svg>\n";
}

std::string interval_svg(const std::string& title, const std::string& x_label,
                         const std::vector<IntervalEntry>& entries, double reference) {
  constexpr double kNames = 170, kWide = 640, kRow = 22;
  double low = reference, high = reference;
  for (const IntervalEntry& entry : entries) {
    for (const double value : {entry.value, entry.low, entry.high}) {
      if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  }
  const double air = std::max(0.04 * (high - low), 1e-3);
  const double bottom = kTop + kRow * static_cast<double>(entries.size());
  const Axis x{low - air, high + air, kNames, kWide - 120};
  std::string svg = open_svg(kWide, bottom + kBottom, title);
  svg += text(8, 18, title, "font-weight=\"600\" font-size=\"13\"");
  for (const double tick : x.ticks()) {
    svg += line(x.at(tick), kTop, x.at(tick), bottom, "stroke=\"#e3e7ec\"");
    svg += text(x.at(tick), bottom + 16, fmt::format("{:g}", std::abs(tick) < 1e-12 ? 0.0 : tick),
                "text-anchor=\"middle\" fill=\"#5b6675\"");
  }
  svg += line(x.at(reference), kTop, x.at(reference), bottom, "stroke=\"#5b6675\" stroke-dasharray=\"4 3\"");
  double at = kTop + kRow / 2;
  for (const IntervalEntry& entry : entries) {
    svg += text(kNames - 8, at + 4, entry.name, "text-anchor=\"end\"");
    if (std::isfinite(entry.value)) {
      if (std::isfinite(entry.low) && std::isfinite(entry.high)) {
        svg += line(x.at(entry.low), at, x.at(entry.high), at, "stroke=\"#0072b2\" stroke-width=\"2\"");
      }
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"#0072b2\"/>\n",
                         x.at(entry.value), at);
      svg += text(kWide - 114, at + 4,
                  fmt::format("{:.3f} [{:.3f}, {:.3f}]", entry.value, entry.low, entry.high),
                  "font-size=\"10\"");
    } else {
      svg += text(kWide - 114, at + 4, "undefined", "font-size=\"10\"");
    }
    at += kRow;
  }
  svg += text((x.from + x.to) / 2, bottom + 34, x_label, "text-anchor=\"middle\"");
  return svg + "</svg>\n";
}

std::string matrix_svg(const std::string& title, const std::vector<std::string>& rows,
                       const std::vector<std::string>& columns,
                       const std::vector<std::vector<double>>& values, double low, double high) {
  constexpr double kNames = 150, kCell = 38, kHead = 130;
  const double width = kNames + kCell * static_cast<double>(columns.size()) + 90;
  const double height = kHead + kCell * static_cast<double>(rows.size()) + 10;
  std::string svg = open_svg(width, height, title);
  svg += text(8, 18, title, "font-weight=\"600\" font-size=\"13\"");
  for (size_t c = 0; c < columns.size(); ++c) {
    svg += fmt::format("<text transform=\"translate({:.1f} {:.1f}) rotate(-45)\">{}</text>\n",
                       kNames + kCell * (static_cast<double>(c) + 0.4), kHead - 8, html_escape(columns[c]));
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const double top = kHead + kCell * static_cast<double>(r);
    svg += text(kNames - 8, top + kCell / 2 + 4, rows[r], "text-anchor=\"end\"");
    for (size_t c = 0; c < columns.size(); ++c) {
      const double value = values.at(r).at(c);
      const double left = kNames + kCell * static_cast<double>(c);
      const double share =
          std::isfinite(value) && high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
      const auto mix = [&](int to) { return static_cast<int>(std::lround(255 + share * (to - 255))); };
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" fill=\"rgb({},{},{})\" "
          "stroke=\"#fff\"/>\n",
          left, top, kCell, kCell, mix(0), mix(90), mix(160));
      if (std::isfinite(value)) {
        svg += text(left + kCell / 2, top + kCell / 2 + 4, fmt::format("{:.1f}", 100 * value),
                    share > 0.55 ? "text-anchor=\"middle\" font-size=\"10\" fill=\"#fff\""
                                 : "text-anchor=\"middle\" font-size=\"10\"");
      }
    }
  }
  return svg + "</svg>\n";
}

}  // namespace medfusion::tools
