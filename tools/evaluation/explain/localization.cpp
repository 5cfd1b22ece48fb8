#include "tools/evaluation/explain/localization.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/readers/csv.h"
#include "data/readers/text_file.h"
#include "data/statistics/intervals.h"
#include "tools/evaluation/explain/saliency.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

bool inside(double x, double y, const FindingBox& box, double tolerance) {
  return x >= box.left - tolerance && x < box.right + tolerance && y >= box.top - tolerance &&
         y < box.bottom + tolerance;
}

double area(const FindingBox& box) {
  return std::max(0.0, box.right - box.left) * std::max(0.0, box.bottom - box.top);
}

LocalizationScore score_of(const std::string& label, const std::vector<const LocalizationCase*>& cases) {
  LocalizationScore result;
  result.label = label;
  result.count = static_cast<int64_t>(cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    const LocalizationCase& each = *cases[i];
    const LocalizationCase& other = *cases[(i + 1) % cases.size()];
    result.hits += each.hit ? 1 : 0;
    result.near += each.near ? 1 : 0;
    if (cases.size() > 1 && !other.blank && points_at(other.x, other.y, each.boxes)) ++result.elsewhere;
    result.chance += each.area / static_cast<double>(cases.size());
    result.mean_iou += each.iou / static_cast<double>(cases.size());
    for (size_t k = 0; k < kOverlaps.size(); ++k) result.overlapping[k] += each.iou >= kOverlaps[k] ? 1 : 0;
  }
  return result;
}

// NIH's header names four columns "Bbox [x,y,w,h]" without quotes and then counts them again by empty cells,
// so that it has more cells than the rows (or as many, where those end in commas). The text with a header of
// as many cells as the first row.
std::string with_plain_header(const std::string& text) {
  const std::string quirk = "Bbox [x,y,w,h]";
  const size_t end = text.find('\n');
  const size_t at = text.find(quirk);
  if (end == std::string::npos || at == std::string::npos || at > end) return text;
  const std::string row = text.substr(end + 1, text.find('\n', end + 1) - end - 1);
  const auto cells = 1 + std::count(row.begin(), row.end(), ',');
  std::string header = text.substr(0, at) + "x,y,w,h";
  for (auto i = 1 + std::count(header.begin(), header.end(), ','); i < cells; ++i) header += ',';
  return header + text.substr(end);
}

// A cell of a CSV file (RFC 4180).
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result(1, '"');
  for (const char c : text) result.append(c == '"' ? 2 : 1, c);
  result.push_back('"');
  return result;
}

}  // namespace

std::vector<BoxRow> read_boxes(const std::string& file) {
  const data::CsvTable table = data::CsvTable::parse(with_plain_header(data::read_text_file(file)), file);
  if (table.columns() < 6) {
    core::throw_input_error({file, 1}, "expected image, finding, x, y, width and height, got {} columns",
                            table.columns());
  }
  std::vector<BoxRow> rows;
  for (int64_t i = 0; i < table.rows(); ++i) {
    BoxRow row{table.required(i, 0), table.required(i, 1), {}};
    if (row.label == "Infiltrate") row.label = "Infiltration";
    for (int k = 0; k < 4; ++k) {
      const double value = table.number(i, 2 + k);
      if (std::isnan(value) || value < 0.0 || (k >= 2 && value == 0.0)) {
        core::throw_input_error(table.place(i, 2 + k), "expected {}, got '{}'",
                                k < 2 ? "a place of a box in pixels" : "a positive size of a box in pixels",
                                table.cell(i, 2 + k));
      }
      row.pixels[static_cast<size_t>(k)] = value;
    }
    rows.push_back(row);
  }
  if (rows.empty()) core::throw_input_error({file}, "expected boxes, got none");
  return rows;
}

FindingBox to_fractions(const BoxRow& row, double width, double height) {
  const auto [x, y, w, h] = row.pixels;
  const auto cut = [](double v) { return std::clamp(v, 0.0, 1.0); };
  return {cut(x / width), cut(y / height), cut((x + w) / width), cut((y + h) / height)};
}

bool points_at(double x, double y, const std::vector<FindingBox>& boxes, double tolerance) {
  return std::any_of(boxes.begin(), boxes.end(),
                     [&](const FindingBox& box) { return inside(x, y, box, tolerance); });
}

FindingBox box_of_map(const Tensor& map, double threshold) {
  const Tensor values = map.to_contiguous();
  const float* at = values.data<float>();
  const int64_t height = values.size(0), width = values.size(1);
  const Peak peak = peak_of(values);
  std::vector<bool> seen(static_cast<size_t>(height * width), false);
  std::vector<int64_t> open{peak.row * width + peak.column};
  seen[static_cast<size_t>(open.back())] = true;
  int64_t left = peak.column, right = peak.column, top = peak.row, bottom = peak.row;
  const auto visit = [&](int64_t row, int64_t column) {
    if (row < 0 || row >= height || column < 0 || column >= width) return;
    const int64_t i = row * width + column;
    if (seen[static_cast<size_t>(i)] || at[i] < threshold * static_cast<double>(peak.value)) return;
    seen[static_cast<size_t>(i)] = true;
    open.push_back(i);
  };
  while (!open.empty()) {
    const int64_t row = open.back() / width, column = open.back() % width;
    open.pop_back();
    left = std::min(left, column), right = std::max(right, column);
    top = std::min(top, row), bottom = std::max(bottom, row);
    visit(row - 1, column);
    visit(row + 1, column);
    visit(row, column - 1);
    visit(row, column + 1);
  }
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  return {static_cast<double>(left) / w, static_cast<double>(top) / h, static_cast<double>(right + 1) / w,
          static_cast<double>(bottom + 1) / h};
}

double overlap(const FindingBox& a, const FindingBox& b) {
  const FindingBox both{std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
                        std::min(a.bottom, b.bottom)};
  const double shared = area(both), all = area(a) + area(b) - shared;
  return all > 0.0 ? shared / all : 0.0;
}

double area_share(const std::vector<FindingBox>& boxes) {
  // Of the grid that all edges make, the cells that lie in a box.
  std::vector<double> xs, ys;
  for (const FindingBox& box : boxes) {
    xs.insert(xs.end(), {box.left, box.right});
    ys.insert(ys.end(), {box.top, box.bottom});
  }
  std::sort(xs.begin(), xs.end());
  std::sort(ys.begin(), ys.end());
  double sum = 0.0;
  for (size_t i = 0; i + 1 < xs.size(); ++i) {
    for (size_t j = 0; j + 1 < ys.size(); ++j) {
      const double x = 0.5 * (xs[i] + xs[i + 1]), y = 0.5 * (ys[j] + ys[j + 1]);
      if (points_at(x, y, boxes)) sum += (xs[i + 1] - xs[i]) * (ys[j + 1] - ys[j]);
    }
  }
  return sum;
}

LocalizationCase localize(const Tensor& map, const std::vector<FindingBox>& boxes, double tolerance,
                          double threshold) {
  LocalizationCase result;
  const Peak peak = peak_of(map);
  result.x = (static_cast<double>(peak.column) + 0.5) / static_cast<double>(map.size(1));
  result.y = (static_cast<double>(peak.row) + 0.5) / static_cast<double>(map.size(0));
  result.blank = !(peak.value > 0.0F);
  result.boxes = boxes;
  result.area = area_share(boxes);
  if (result.blank) return result;
  result.hit = points_at(result.x, result.y, boxes);
  result.near = points_at(result.x, result.y, boxes, tolerance);
  const FindingBox seen = box_of_map(map, threshold);
  for (const FindingBox& box : boxes) result.iou = std::max(result.iou, overlap(seen, box));
  return result;
}

std::vector<LocalizationScore> score(const std::vector<LocalizationCase>& cases,
                                     const std::vector<std::string>& labels) {
  std::vector<LocalizationScore> scores;
  std::vector<const LocalizationCase*> everything;
  int64_t elsewhere = 0;
  for (const std::string& label : labels) {
    std::vector<const LocalizationCase*> of_label;
    for (const LocalizationCase& each : cases) {
      if (each.label == label) of_label.push_back(&each);
    }
    if (of_label.empty()) continue;
    everything.insert(everything.end(), of_label.begin(), of_label.end());
    scores.push_back(score_of(label, of_label));
    elsewhere += scores.back().elsewhere;
  }
  scores.push_back(score_of("all", everything));
  scores.back().elsewhere = elsewhere;  // of the same label's next case, not of any
  return scores;
}

std::string localization_csv(const std::vector<LocalizationScore>& scores) {
  std::string csv =
      "label,cases,pointing_game,low,high,with_tolerance,with_tolerance_low,with_tolerance_high,chance,"
      "peak_of_another,mean_iou";
  for (const double each : kOverlaps) csv += fmt::format(",iou_{:.1f}", each);
  csv += "\n";
  for (const LocalizationScore& s : scores) {
    const auto share = [&](int64_t hits) {
      return s.count > 0 ? static_cast<double>(hits) / static_cast<double>(s.count) : 0.0;
    };
    const data::Estimate pointing = data::wilson(s.hits, s.count), near = data::wilson(s.near, s.count);
    csv += fmt::format("{},{},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f}",
                       quoted(s.label), s.count, share(s.hits), pointing.low, pointing.high, share(s.near),
                       near.low, near.high, s.chance, share(s.elsewhere), s.mean_iou);
    for (const int64_t hits : s.overlapping) csv += fmt::format(",{:.4f}", share(hits));
    csv += "\n";
  }
  return csv;
}

}  // namespace medfusion::tools
