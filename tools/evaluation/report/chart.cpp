#include "tools/evaluation/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "tools/evaluation/report/html.h"

namespace medfusion::tools {
namespace {

// Okabe and Ito's palette, which most color-blind readers can tell apart.
constexpr std::array kPalette{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

constexpr const char* kHistogramColor = "#9aa4b2";

constexpr double kWidth = 420, kLeft = 60, kRight = 12, kTop = 30, kBottom = 44, kLegendLine = 16,
                 kHistogram = 46;

struct Axis {
  double low, high, from, to;
  double least = 0.0;  // distance of two ticks
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }

  // Round numbers, about five of them.
  std::vector<double> ticks() const {
    const double rough = std::max((high - low) / 5, least);
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

std::string tick_text(double tick) { return fmt::format("{:g}", std::abs(tick) < 1e-12 ? 0.0 : tick); }

// below: the height of what stands between the x axis and its numbers.
std::string grid(const Axis& x, const Axis& y, const Chart& chart, double below) {
  std::string svg;
  for (const double tick : x.ticks()) {
    svg += line(x.at(tick), y.from, x.at(tick), y.to, "stroke=\"#e3e7ec\"");
    svg += text(x.at(tick), y.from + below + 16, tick_text(tick), "text-anchor=\"middle\" fill=\"#5b6675\"");
  }
  for (const double tick : y.ticks()) {
    svg += line(x.from, y.at(tick), x.to, y.at(tick), "stroke=\"#e3e7ec\"");
    svg += text(x.from - 6, y.at(tick) + 4, tick_text(tick), "text-anchor=\"end\" fill=\"#5b6675\"");
  }
  svg += text((x.from + x.to) / 2, y.from + below + 34, chart.x_label, "text-anchor=\"middle\"");
  svg +=
      fmt::format("<text transform=\"translate(12 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                  (y.from + y.to) / 2, html_escape(chart.y_label));
  return svg;
}

// The part of the line from a to b that lies within the range of y; nothing where there is none.
std::optional<std::pair<std::pair<double, double>, std::pair<double, double>>> clip(
    std::pair<double, double> a, std::pair<double, double> b, const Axis& y) {
  double from = 0.0, to = 1.0;
  const double rise = b.second - a.second;
  for (const double bound : {y.low, y.high}) {
    const double sign = bound == y.low ? 1.0 : -1.0;  // inside where sign * (value - bound) >= 0
    const double at_a = sign * (a.second - bound), at_b = sign * (b.second - bound);
    if (at_a < 0.0 && at_b < 0.0) return std::nullopt;
    if (at_a < 0.0) from = std::max(from, (bound - a.second) / rise);
    if (at_b < 0.0) to = std::min(to, (bound - a.second) / rise);
  }
  if (from > to) return std::nullopt;
  const auto point = [&](double share) {
    return std::pair{a.first + share * (b.first - a.first), a.second + share * rise};
  };
  return std::pair{from == 0.0 ? a : point(from), to == 1.0 ? b : point(to)};
}

std::string path_of(const ChartSeries& series, const Axis& x, const Axis& y) {
  std::string path;
  std::pair<double, double> pen{std::nan(""), std::nan("")};
  for (size_t i = 1; i < series.points.size(); ++i) {
    if (!finite(series.points[i - 1]) || !finite(series.points[i])) continue;
    const auto piece = clip(series.points[i - 1], series.points[i], y);
    if (!piece) continue;
    const auto& [from, to] = *piece;
    if (from != pen) path += fmt::format("M{:.1f} {:.1f}", x.at(from.first), y.at(from.second));
    path += fmt::format("L{:.1f} {:.1f}", x.at(to.first), y.at(to.second));
    pen = to;
  }
  return path;
}

const char* dashes(const ChartSeries& series) { return series.dashed ? " stroke-dasharray=\"5 4\"" : ""; }

// A polygon along the low ends and back along the high ones, a new one after each gap.
std::string draw_band(const ChartSeries& series, const std::string& color, const Axis& x, const Axis& y) {
  std::string svg, there, back;
  const auto close = [&] {
    if (!there.empty())
      svg +=
          fmt::format("<polygon points=\"{}{}\" fill=\"{}\" fill-opacity=\"0.18\"/>\n", there, back, color);
    there.clear(), back.clear();
  };
  for (size_t i = 0; i < std::min(series.points.size(), series.band.size()); ++i) {
    const auto& [low, high] = series.band[i];
    if (!finite(series.points[i]) || !finite(series.band[i])) {
      close();
      continue;
    }
    const auto corner = [&](double value) {
      return fmt::format("{:.1f},{:.1f} ", x.at(series.points[i].first),
                         y.at(std::clamp(value, y.low, y.high)));
    };
    there += corner(low);
    back = corner(high) + back;
  }
  close();
  return svg;
}

std::string draw(const ChartSeries& series, const std::string& color, const Axis& x, const Axis& y) {
  std::string svg = draw_band(series, color, x, y);
  for (const auto& [px, py] : series.points) {
    if (!series.marks || !finite({px, py}) || py < y.low || py > y.high) continue;
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:g}\" fill=\"{}\"/>\n", x.at(px), y.at(py),
                       series.radius, color);
  }
  const std::string path = path_of(series, x, y);
  if (path.empty()) return svg;
  return svg + fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{}/>\n", path,
                           color, dashes(series));
}

// The bins hang from `top` on; the longest has its count beside it.
std::string draw_histogram(const Chart& chart, const Axis& x, double top) {
  if (chart.histogram.empty()) return "";
  double most = 1.0;
  for (const ChartBin& bin : chart.histogram) most = std::max(most, bin.count);
  const double longest = kHistogram - 6;
  std::string svg =
      text(kLeft - 6, top + longest + 4, fmt::format("{:g}", most), "text-anchor=\"end\" fill=\"#5b6675\"");
  for (const ChartBin& bin : chart.histogram) {
    svg += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n",
                       x.at(bin.low), top, std::max(0.5, x.at(bin.high) - x.at(bin.low) - 1),
                       bin.count / most * longest, kHistogramColor);
  }
  return svg;
}

// The lines of the legend from the height `at` on.
std::string draw_legend(const std::vector<std::pair<const ChartSeries*, std::string>>& colors,
                        const Chart& chart, double at) {
  std::string svg;
  const auto entry = [&](const std::string& sign, const std::string& name) {
    svg += sign + text(kLeft + 30, at, name, "");
    at += kLegendLine;
  };
  for (const auto& [series, color] : colors) {
    if (series->name.empty()) continue;
    entry(series->points.size() == 1 && series->marks
              ? fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:g}\" fill=\"{}\"/>\n", kLeft + 11,
                            at - 4, series->radius, color)
              : line(kLeft, at - 4, kLeft + 22, at - 4,
                     fmt::format("stroke=\"{}\" stroke-width=\"2\"{}", color, dashes(*series)).c_str()),
          series->name);
  }
  if (!chart.histogram.empty())
    entry(fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"22\" height=\"9\" fill=\"{}\"/>\n", kLeft,
                      at - 9, kHistogramColor),
          chart.histogram_name);
  return svg;
}

// The rows of an interval plot: as a grid of the page, and one below the other as one drawing.
struct ForestRows {
  std::string html, drawings;
  int count = 0;

  void add(const std::string& name, const std::string& drawing, const std::string& value) {
    constexpr int kRow = 24, kNameEnd = 180, kLine = 400;
    const int top = 30 + kRow * count++;
    html += "<div class=\"row\"><span class=\"name\">" + html_escape(name) +
            "</span><svg role=\"presentation\">" + drawing + "</svg><span>" + html_escape(value) +
            "</span></div>\n";
    drawings += text(kNameEnd, top + 16, name, "text-anchor=\"end\"") +
                fmt::format("<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">{}</svg>\n", kNameEnd + 14,
                            top, kLine, kRow, drawing) +
                text(kNameEnd + kLine + 30, top + 16, value, "");
  }

  std::string svg(const std::string& title) const {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 780 {}\" role=\"img\" "
               "font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\"><title>{}</title>\n",
               40 + 24 * count, html_escape(title)) +
           text(0, 18, title, "font-weight=\"600\"") + drawings + "</svg>\n";
  }
};

}  // namespace

std::string chart_svg(const Chart& chart) {
  const auto named = std::count_if(chart.series.begin(), chart.series.end(),
                                   [](const ChartSeries& series) { return !series.name.empty(); }) +
                     (chart.histogram.empty() ? 0 : 1);
  const double plot = chart.square ? kWidth - kLeft - kRight : 220;
  const double below = chart.histogram.empty() ? 0 : kHistogram;
  const double foot = kTop + plot + below + kBottom;
  const double height = foot + kLegendLine * static_cast<double>(named);
  const auto [x_low, x_high] = range_of(chart.x_range, chart.series, false);
  const auto [y_low, y_high] = range_of(chart.y_range, chart.series, true);
  const Axis x{x_low, x_high, kLeft, kWidth - kRight, chart.whole ? 1.0 : 0.0},
      y{y_low, y_high, kTop + plot, kTop};
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\"><title>{}</title>\n",
      kWidth, height, html_escape(chart.title));
  svg += text(kLeft, 18, chart.title, "font-weight=\"600\" font-size=\"13\"") + grid(x, y, chart, below) +
         draw_histogram(chart, x, kTop + plot);
  size_t next = 0;
  std::vector<std::pair<const ChartSeries*, std::string>> colors;
  for (const ChartSeries& series : chart.series) {
    colors.emplace_back(&series, series.color.empty() ? kPalette[next++ % kPalette.size()] : series.color);
    svg += draw(series, colors.back().second, x, y);
  }
  return svg + draw_legend(colors, chart, foot + 8) + "</svg>\n";
}

Html chart_figure(const Chart& chart, const std::string& name) {
  const std::string svg = chart_svg(chart);
  return {"<figure>" + svg + "</figure>\n", {name, chart.title, svg, {}}};
}

ChartSeries reference_line(std::vector<std::pair<double, double>> points, const std::string& name) {
  return {.name = name, .points = std::move(points), .color = "#9aa4b2", .dashed = true};
}

ChartSeries single_point(std::pair<double, double> point, const std::string& name, const std::string& color,
                         double radius) {
  return {.name = name, .points = {point}, .color = color, .marks = true, .radius = radius};
}

Chart unit_chart(const std::string& title, const std::string& x_label, const std::string& y_label,
                 std::vector<ChartSeries> series) {
  return {title, x_label, y_label, std::move(series), {0, 1}, {0, 1}, true};
}

Html interval_figure(const std::string& name, const std::string& title, const std::string& x_label,
                     const std::vector<IntervalEntry>& entries, double reference) {
  double low = reference, high = reference;
  for (const IntervalEntry& entry : entries) {
    for (const double value : {entry.value, entry.low, entry.high}) {
      if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  }
  const double air = std::max(0.04 * (high - low), 1e-3);
  const Axis x{low - air, high + air, 0.0, 100.0};  // in percent of a row's width
  std::string grid_lines;
  for (const double tick : x.ticks()) {
    grid_lines += fmt::format(
        "<line x1=\"{0:.2f}%\" y1=\"0\" x2=\"{0:.2f}%\" y2=\"100%\" stroke=\"#e3e7ec\"/>", x.at(tick));
  }
  grid_lines += fmt::format(
      "<line x1=\"{0:.2f}%\" y1=\"0\" x2=\"{0:.2f}%\" y2=\"100%\" stroke=\"#5b6675\" stroke-dasharray=\"4 "
      "3\"/>",
      x.at(reference));
  ForestRows rows;
  for (const IntervalEntry& entry : entries) {
    std::string drawing = grid_lines, value = "undefined";
    if (std::isfinite(entry.value)) {
      value = fmt::format("{:.3f}", entry.value);
      if (std::isfinite(entry.low) && std::isfinite(entry.high)) {
        value += fmt::format(" [{:.3f}, {:.3f}]", entry.low, entry.high);
        drawing += fmt::format(
            "<line x1=\"{:.2f}%\" y1=\"50%\" x2=\"{:.2f}%\" y2=\"50%\" stroke=\"#0072b2\" "
            "stroke-width=\"2\"/>",
            x.at(entry.low), x.at(entry.high));
      }
      drawing +=
          fmt::format("<circle cx=\"{:.2f}%\" cy=\"50%\" r=\"4\" fill=\"#0072b2\"/>", x.at(entry.value));
    }
    rows.add(entry.name, drawing, value);
  }
  std::string ticks;
  for (const double tick : x.ticks()) {
    ticks += fmt::format(
        "<text x=\"{:.2f}%\" y=\"14\" text-anchor=\"middle\" font-size=\"12\" fill=\"#5b6675\">{}</text>",
        x.at(tick), tick_text(tick));
  }
  rows.add("", ticks, x_label);
  return {"<figure class=\"forest\"><figcaption>" + html_escape(title) + "</figcaption>\n" + rows.html +
              "</figure>\n",
          {name, title, rows.svg(title), {}}};
}

Html matrix_table(const std::string& name, const std::string& title, const std::vector<std::string>& rows,
                  const std::vector<std::string>& columns, const std::vector<std::vector<double>>& values,
                  double low, double high, int digits) {
  std::vector<std::string> head{""};
  for (const std::string& column : columns) head.push_back(html_escape(column));
  HtmlTable table(head, html_escape(title));
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<std::string> cells{html_escape(rows[r])};
    for (size_t c = 0; c < columns.size(); ++c) {
      const double value = values.at(r).at(c);
      if (!std::isfinite(value)) {
        cells.emplace_back("<span></span>");
        continue;
      }
      const double share = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
      const auto mix = [&](int to) { return static_cast<int>(std::lround(255 + share * (to - 255))); };
      cells.push_back(fmt::format("<span style=\"background:rgb({},{},{}){}\">{:.{}f}</span>", mix(0),
                                  mix(90), mix(160), share > 0.55 ? ";color:#fff" : "", 100 * value, digits));
    }
    table.row(std::move(cells));
  }
  return table.html(name, "matrix");
}

}  // namespace medfusion::tools
