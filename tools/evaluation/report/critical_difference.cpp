#include "tools/evaluation/report/critical_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "tools/evaluation/report/html.h"

namespace medfusion::tools {
namespace {

constexpr double kAxisWidth = 340, kAxisY = 84, kBarGap = 7, kNameLine = 18, kLetterWidth = 6.6;

std::string svg_line(double x1, double y1, double x2, double y2, double width) {
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#1f2933\" "
      "stroke-width=\"{}\"/>\n",
      x1, y1, x2, y2, width);
}

std::string svg_text(double x, double y, const char* anchor, const std::string& content,
                     const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, style,
                     html_escape(content));
}

}  // namespace

std::vector<std::pair<size_t, size_t>> rank_groups(const std::vector<double>& ascending, double difference) {
  std::vector<std::pair<size_t, size_t>> groups;
  size_t last = 0;  // of the group before: one that ends there lies within it
  for (size_t i = 0; i < ascending.size(); ++i) {
    size_t j = i;
    while (j + 1 < ascending.size() && ascending[j + 1] - ascending[i] < difference) ++j;
    if (j > i && (groups.empty() || j > last)) groups.emplace_back(i, last = j);
  }
  return groups;
}

std::string critical_difference_svg(const std::string& title, const std::vector<std::string>& names,
                                    const std::vector<double>& ranks, double difference) {
  MEDFUSION_CHECK(names.size() == ranks.size() && names.size() >= 2, "ranks: {} names, {} ranks",
                  names.size(), ranks.size());
  std::vector<size_t> order(names.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ranks[a] < ranks[b]; });
  std::vector<double> ascending;
  size_t longest = 0;
  for (const size_t i : order) {
    ascending.push_back(ranks[i]);
    longest = std::max(longest, names[i].size());
  }
  const auto groups = rank_groups(ascending, difference);
  const double side = 24 + kLetterWidth * static_cast<double>(longest + 7);
  const double last_rank = static_cast<double>(names.size());
  const auto x = [&](double rank) { return side + (rank - 1) / (last_rank - 1) * kAxisWidth; };
  const double names_y = kAxisY + 22 + kBarGap * static_cast<double>(groups.size());
  const size_t left = (names.size() + 1) / 2;
  const double width = 2 * side + kAxisWidth, height = names_y + kNameLine * static_cast<double>(left) + 4;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\"><title>{}</title>\n",
      width, height, html_escape(title));
  svg += svg_text(12, 18, "start", title, " font-weight=\"600\" font-size=\"13\"");
  // A difference as wide as the axis or wider joins all: the bar is then as long as the axis.
  const double bar_end = std::min(1 + difference, last_rank);
  svg += svg_line(x(1), 44, x(bar_end), 44, 1.5) + svg_line(x(1), 40, x(1), 48, 1.5) +
         svg_line(x(bar_end), 40, x(bar_end), 48, 1.5) +
         svg_text(x(1), 36, "start",
                  fmt::format("critical difference {:.2f}{}", difference,
                              1 + difference > last_rank ? ", wider than the axis" : ""));
  svg += svg_line(x(1), kAxisY, x(last_rank), kAxisY, 1.5);
  for (size_t rank = 1; rank <= names.size(); ++rank) {
    const double at = x(static_cast<double>(rank));
    svg +=
        svg_line(at, kAxisY - 6, at, kAxisY, 1.5) + svg_text(at, kAxisY - 10, "middle", std::to_string(rank));
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const double y = kAxisY + 8 + kBarGap * static_cast<double>(g);
    svg += svg_line(x(ascending[groups[g].first]) - 3, y, x(ascending[groups[g].second]) + 3, y, 4);
  }
  for (size_t i = 0; i < order.size(); ++i) {
    const bool at_left = i < left;
    const double y = names_y + kNameLine * static_cast<double>(at_left ? i : order.size() - 1 - i);
    const double end = at_left ? side - 16 : side + kAxisWidth + 16;
    svg += svg_line(x(ascending[i]), kAxisY, x(ascending[i]), y, 1) + svg_line(x(ascending[i]), y, end, y, 1);
    svg += svg_text(at_left ? end - 4 : end + 4, y + 4, at_left ? "end" : "start",
                    fmt::format("{} ({:.2f})", names[order[i]], ascending[i]));
  }
  return svg + "</svg>\n";
}

}  // namespace medfusion::tools
