// The pieces of a page: tables, headings, charts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"
#include "tests/tools/report_record.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/html.h"

namespace medfusion::tools {
namespace {

TEST(Html, EscapesAndEncodes) {
  EXPECT_EQ(html_escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  // RFC 4648, section 10.
  EXPECT_EQ(data_uri("t", ""), "data:t;base64,");
  EXPECT_EQ(data_uri("t", "f"), "data:t;base64,Zg==");
  EXPECT_EQ(data_uri("t", "fo"), "data:t;base64,Zm8=");
  EXPECT_EQ(data_uri("t", "foobar"), "data:t;base64,Zm9vYmFy");
  EXPECT_EQ(data_uri("t", "\xff\xfe\xfd"), "data:t;base64,//79");
  HtmlTable table({"a", "b"});
  EXPECT_THROW(table.row({"1"}), core::Error);
}

TEST(Html, TakesTagsAndEntitiesAway) {
  EXPECT_EQ(plain_text("<b>a &amp; b</b> &ge; 0.5, &#39;x&lt;y&#39;"), "a & b \u2265 0.5, 'x<y'");
  EXPECT_EQ(plain_text(html_escape("<a href=\"x\">'&")), "<a href=\"x\">'&");
}

// The class of each heading of a table, in order.
std::vector<std::string> alignment(const HtmlTable& table) {
  std::istringstream html(table.html("t").text);
  std::string line;
  while (std::getline(html, line) && !line.starts_with("<thead>")) {
  }
  std::vector<std::string> result;
  for (size_t at = line.find("<th "); at != std::string::npos; at = line.find("<th ", at + 1))
    result.push_back(line.substr(at, line.find('>', at) - at).ends_with("num\"") ? "right" : "left");
  return result;
}

TEST(Html, AlignsNumbersAtTheRightAndWordsAtTheLeft) {
  HtmlTable table({"label", "level", "from", "AUROC", "hash", "p", "value", "of folds", "none"});
  table.row({"1", "low", "0", "0.5 [0.4,&nbsp;0.6]<sup>&dagger;</sup>", "1234a", "&le; 0.002", "tiny",
             "2 of 3", "-"});
  table.row({"2", "high", "by fold", "not estimable: no positive", "5678", "1e-05", "12", "1 of 3", ""});
  EXPECT_EQ(alignment(table), (std::vector<std::string>{"left", "left", "right", "right", "left", "right",
                                                        "left", "right", "left"}));
}

// On a telephone a table that is too wide stands row by row, so that nothing of it is out of sight.
TEST(Html, StacksWhatDoesNotFitATelephone) {
  HtmlTable narrow({"label", "n &ge; 5"});
  narrow.row({"Mass", "12"});
  EXPECT_FALSE(narrow.html("t").text.find("stack") != std::string::npos);
  EXPECT_NE(narrow.html("t").text.find("data-head=\"n \u2265 5\""), std::string::npos);
  HtmlTable wide({"label", "a", "b", "c", "d"});
  wide.row({"Mass", "0.51 [0.405,&nbsp;0.603]", "0.51 [0.405,&nbsp;0.603]", "0.51 [0.405,&nbsp;0.603]", "1"});
  EXPECT_NE(wide.html("t").text.find("class=\" stack\""), std::string::npos);
}

// Headings count on from 1, and each link of the navigation leads to a section with its number and title.
TEST(Html, NumbersHeadingsAndLinksToThem) {
  const Page page{
      "t", "", {{"a", "First & one", "<h3>x</h3><h3>y</h3>"}, {"b", "Second", "<p>z</p>\n<h3>w</h3>"}}};
  const std::string html = page.html();
  for (const char* part :
       {"<h2>1. First &amp; one</h2>", "<h3>1.1 x</h3><h3>1.2 y</h3>", "<h2>2. Second</h2>", "<h3>2.1 w</h3>",
        "<a href=\"#a\"><span class=\"number\">1.</span>First &amp; one</a>", "<section id=\"a\">",
        "<a href=\"#b\"><span class=\"number\">2.</span>Second</a>", "<section id=\"b\">"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
}

// Files are named after their section, whatever a label is called, and no two have one name.
TEST(Html, FilesHaveNamesOfTheirOwn) {
  HtmlTable table({"label", "AUROC"}, "x &amp; y");
  table.row({"<b>a</b> &lt;c&gt;", "0.5 [0.4,&nbsp;0.6]"});
  Page page{"t", "", {{"curves", "Curves", ""}, {"risk", "Risk", ""}}};
  page.sections[0].body = table.html("Pleural_Thickening roc") + table.html("Pleural thickening roc") +
                          chart_figure(unit_chart("\u80ba", "x", "y", {}), "\u80ba");
  page.sections[1].body += table.html("levels");
  const auto files = page.files();
  ASSERT_EQ(files.size(), 4U);
  EXPECT_EQ(files[0].name, "curves-pleural-thickening-roc");
  EXPECT_EQ(files[1].name, "curves-pleural-thickening-roc-2");
  EXPECT_EQ(files[2].name, "curves");
  EXPECT_EQ(files[3].name, "risk-levels");
  EXPECT_EQ(files[0].title, "Curves: x & y");
  EXPECT_EQ(files[0].cells,
            (std::vector<std::vector<std::string>>{{"label", "AUROC"}, {"a <c>", "0.5 [0.4, 0.6]"}}));
  EXPECT_NE(files[2].svg.find("</svg>"), std::string::npos);
}

TEST(Chart, AnIntervalPlotIsOneDrawingInItsFile) {
  const Html figure =
      interval_figure("n", "t <1>", "AUROC", {{"a&b", 0.75, 0.5, 0.9}, {"c", 0.6, 0.5, 0.7}}, 0.5);
  ASSERT_EQ(figure.files.size(), 1U);
  const std::string& svg = figure.files[0].svg;
  for (const char* part : {"t &lt;1&gt;", ">a&amp;b<", ">0.750 [0.500, 0.900]<", ">AUROC<"})
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  EXPECT_EQ(count_of(svg, "<svg"), 4U);  // the drawing, two rows and the axis
}

TEST(Chart, BreaksLinesWhereThereIsNoNumber) {
  Chart chart{"t", "x", "y", {}};
  chart.series = {{"s", {{0, 1}, {1, 2}, {1.5, NAN}, {2, 3}, {3, 4}}, "", false, false}};
  const std::string svg = chart_svg(chart);
  EXPECT_EQ(count_of(svg, "nan"), 0U);
  const std::string path = svg.substr(svg.find("<path d=\"") + 9,
                                      svg.find('"', svg.find("<path d=\"") + 9) - svg.find("<path d=\"") - 9);
  EXPECT_EQ(count_of(path, "M"), 2U);  // the line begins again after the gap
  EXPECT_EQ(count_of(path, "L"), 2U);
}

TEST(Chart, AnEmptyOneStillDraws) {
  EXPECT_NE(chart_svg({"t", "x", "y", {}}).find("</svg>"), std::string::npos);
  const std::string figure = interval_figure("n", "t", "x", {{"a", NAN, NAN, NAN}}, 0.5).text;
  EXPECT_EQ(count_of(figure, "nan"), 0U);
  EXPECT_NE(figure.find("undefined"), std::string::npos);
}

std::vector<std::pair<double, double>> path_points(const std::string& svg) {
  const size_t from = svg.find("<path d=\"") + 9;
  std::string path = svg.substr(from, svg.find('"', from) - from);
  std::replace_if(
      path.begin(), path.end(), [](char c) { return c == 'M' || c == 'L'; }, ' ');
  std::istringstream numbers(path);
  std::vector<std::pair<double, double>> points;
  for (double x = 0, y = 0; numbers >> x >> y;) points.emplace_back(x, y);
  return points;
}

// A line that leaves the range ends at its edge, it does not run along it.
TEST(Chart, AnAxisThatCountsMarksWholeNumbers) {
  Chart chart{"t", "epoch", "y", {{"", {{1, 0}, {2, 1}, {3, 0}}, "", false, false}}};
  EXPECT_NE(chart_svg(chart).find(">1.5<"), std::string::npos);
  chart.whole = true;
  EXPECT_EQ(chart_svg(chart).find(">1.5<"), std::string::npos);
  EXPECT_NE(chart_svg(chart).find(">2<"), std::string::npos);
}

TEST(Chart, CutsOffWhatIsOutOfRange) {
  Chart chart{"t", "x", "y", {}, {0, 4}, {0, 1}};
  chart.series = {{"", {{0, 0.5}, {1, 0.5}, {2, -0.5}, {3, -4}, {4, -9}}, "", false, false}};
  const auto points = path_points(chart_svg(chart));
  ASSERT_EQ(points.size(), 3U);
  chart.series = {{"", {{0, 0.5}, {1.5, 0.0}, {4, 0.0}}, "", false, false}};
  const auto inside = path_points(chart_svg(chart));
  EXPECT_NEAR(points.back().first, inside[1].first, 0.11);  // crosses 0 at 1.5
  EXPECT_NEAR(points.back().second, inside[1].second, 0.11);
  chart.series = {{"", {{0, 2}, {1, -1}}, "", false, false}};  // in at the top, out at the bottom
  EXPECT_EQ(path_points(chart_svg(chart)).size(), 2U);
  chart.series = {{"", {{0, 2}, {1, 3}}, "", false, true}};
  EXPECT_EQ(chart_svg(chart).find("<path"), std::string::npos);
  EXPECT_EQ(chart_svg(chart).find("<circle"), std::string::npos);
}

TEST(Chart, ABandGoesAlongItsLowEndsAndBackAlongItsHighOnes) {
  Chart chart{"t", "x", "y", {}, {0, 1}, {0, 1}};
  chart.series = {{.points = {{0.25, 0.5}, {0.75, 0.5}}, .band = {{0.25, 2.0}, {0.4, 0.6}}}};
  const auto points = polygon_points(chart_svg(chart));
  ASSERT_EQ(points.size(), 4U);
  EXPECT_EQ(points[0].first, points[3].first);
  EXPECT_EQ(points[1].first, points[2].first);
  EXPECT_GT(points[0].second, points[3].second);  // SVG counts from the top
  EXPECT_GT(points[1].second, points[2].second);
  chart.series[0].points = {{0.1, 0.5}, {0.2, 0.5}, {0.3, 0.5}};
  chart.series[0].band = {{0.4, 0.6}, {NAN, NAN}, {0.4, 0.6}};
  EXPECT_EQ(count_of(chart_svg(chart), "<polygon"), 2U);  // a new one after the gap
}

TEST(Page, LabelsOfAnyLengthGiveNamesOfFiles) {
  Page page;
  page.sections = {{"curves", "Curves", {}}};
  for (const char* end : {"a", "b"})
    page.sections[0].body += Html("", {std::string(900, 'x') + end, "", "<svg/>", {}});
  const std::vector<PageFile> files = page.files();
  ASSERT_EQ(files.size(), 2U);
  for (const PageFile& file : files) EXPECT_LT(file.name.size(), 200U);
  EXPECT_NE(files[0].name, files[1].name);
}

TEST(Chart, AHistogramHangsFromTheAxis) {
  Chart chart = unit_chart("t", "x", "y", {});
  const double without = std::stod(chart_svg(chart).substr(chart_svg(chart).find("viewBox=\"0 0 420 ") + 17));
  chart.histogram = {{0.0, 0.5, 10}, {0.5, 1.0, 40}};
  chart.histogram_name = "rows <n>";
  const std::string svg = chart_svg(chart);
  EXPECT_GT(std::stod(svg.substr(svg.find("viewBox=\"0 0 420 ") + 17)), without);
  std::vector<double> heights;
  for (size_t at = svg.find("<rect"); at != std::string::npos; at = svg.find("<rect", at + 1))
    heights.push_back(std::stod(svg.substr(svg.find("height=\"", at) + 8)));
  ASSERT_EQ(heights.size(), 3U);  // two bins and the sign of the legend
  EXPECT_NEAR(heights[1], 4 * heights[0], 1e-9);
  EXPECT_NE(svg.find("rows &lt;n&gt;"), std::string::npos);
  EXPECT_NE(svg.find(">40<"), std::string::npos);
}

// On a telephone numbers in a scaled drawing cannot be read: they stand beside it.
TEST(Chart, IntervalsAreTextBesideTheDrawing) {
  const std::string figure = interval_figure("n", "t", "x", {{"<a>", 0.75, 0.5, 0.9}}, 0.5).text;
  EXPECT_NE(figure.find("<span>0.750 [0.500, 0.900]</span>"), std::string::npos);
  EXPECT_NE(figure.find("<span class=\"name\">&lt;a&gt;</span>"), std::string::npos);
}

}  // namespace
}  // namespace medfusion::tools
