// Line charts as SVG, interval plots and matrices as HTML, for pages that stand alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/evaluation/report/html.h"

namespace medfusion::tools {

struct ChartSeries {
  std::string name = {};                               // in the legend; empty: not there
  std::vector<std::pair<double, double>> points = {};  // those that are not finite break the line
  std::string color = {};                              // CSS; empty: the next of the palette
  bool dashed = false;
  bool marks = false;                                // a dot at every point
  std::vector<std::pair<double, double>> band = {};  // low and high of every point, or none: a shaded band
  double radius = 3;                                 // of the dots
};

// How many lie in [low, high) of x.
struct ChartBin {
  double low, high, count;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  // The range of an axis; where both ends are equal, it follows from the points.
  std::pair<double, double> x_range{0.0, 0.0}, y_range{0.0, 0.0};
  bool square = false;  // as high as wide, for curves in the unit square
  // A histogram under the x axis, hanging from it, with its name in the legend; none: empty.
  std::vector<ChartBin> histogram = {};
  std::string histogram_name = {};
  bool whole = false;  // x counts: its axis marks whole numbers only
};

// The chart, 420 units wide, with a description for readers that do not see it. What lies outside the range
// of y is cut off.
std::string chart_svg(const Chart& chart);

// The chart as a figure of a page; name: of its file.
Html chart_figure(const Chart& chart, const std::string& name);
// A gray, dashed line to compare with.
ChartSeries reference_line(std::vector<std::pair<double, double>> points, const std::string& name = "");
// A single dot, such as an operating point.
ChartSeries single_point(std::pair<double, double> point, const std::string& name, const std::string& color,
                         double radius);
// A square chart of [0, 1] x [0, 1].
Chart unit_chart(const std::string& title, const std::string& x_label, const std::string& y_label,
                 std::vector<ChartSeries> series);

// A value with its interval, one line per entry, all on one scale: a forest plot.
struct IntervalEntry {
  std::string name;
  double value = 0.0, low = 0.0, high = 0.0;  // NaN: not known, left out
};
// reference: a vertical line, e.g. 0.5 for AUROC, or 0 for a difference. Names and numbers are text beside
// the lines (classes of html_style.h), so that they keep their size where the page is narrow. The file is one
// drawing.
Html interval_figure(const std::string& name, const std::string& title, const std::string& x_label,
                     const std::vector<IntervalEntry>& entries, double reference);

// A matrix in percent as a table with colored cells, rows and columns named. values: rows x columns, NaN
// where there is none; the color runs from white at `low` to blue at `high`.
Html matrix_table(const std::string& name, const std::string& title, const std::vector<std::string>& rows,
                  const std::vector<std::string>& columns, const std::vector<std::vector<double>>& values,
                  double low, double high, int digits);

}  // namespace medfusion::tools
