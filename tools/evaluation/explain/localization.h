// Whether maps point at what they should: boxes of findings, the pointing game, overlap with thresholded
// maps.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace medfusion::tools {

// In fractions of the image: columns [left, right), rows [top, bottom), 0 to 1.
struct FindingBox {
  double left = 0.0, top = 0.0, right = 0.0, bottom = 0.0;
};

// A row of a list of boxes: x, y, width, height as the file has them.
struct BoxRow {
  std::string id, label;
  std::array<double, 4> pixels{};
};

// Reads a CSV file (plain or gzip-compressed) in the layout of NIH's BBox_List_2017.csv: the image's name,
// the finding, then four numbers, whose columns the file names "Bbox [x,y,w,h]" or not at all; more columns
// may follow. "Infiltrate", the list's own word, becomes "Infiltration". Throws core::InputError naming file,
// line and column.
std::vector<BoxRow> read_boxes(const std::string& file);

// Boxes by (image, label), of images `width` x `height` pixels, cut off at the border.
using BoxesOf = std::map<std::pair<std::string, std::string>, std::vector<FindingBox>>;
FindingBox to_fractions(const BoxRow& row, double width, double height);

inline constexpr std::array kOverlaps{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7};

// The pointing game (Zhang et al., "Top-down neural attention by excitation backprop", 2018): whether the
// centre of the map's largest pixel, in fractions of the image, lies in one of the boxes grown by `tolerance`
// (a fraction of the image) on each side.
bool points_at(double x, double y, const std::vector<FindingBox>& boxes, double tolerance = 0.0);

// The box around the part of a map [h, w] that is at least `threshold` times its largest value and connected
// (by sides) to its largest pixel.
FindingBox box_of_map(const core::Tensor& map, double threshold);

// Intersection over union.
double overlap(const FindingBox& a, const FindingBox& b);

// The share of the image that the boxes cover together: the chance that a random pixel is a hit.
double area_share(const std::vector<FindingBox>& boxes);

// Of one positive image and label with boxes.
struct LocalizationCase {
  std::string id, label;
  double probability = 0.0;
  double x = 0.0, y = 0.0;         // the map's peak
  bool blank = false;              // the map is zero everywhere: it points nowhere
  bool hit = false, near = false;  // near: within the tolerance
  double iou = 0.0;                // the best of the label's boxes with the map's box
  double area = 0.0;
  std::vector<FindingBox> boxes;
};

LocalizationCase localize(const core::Tensor& map, const std::vector<FindingBox>& boxes, double tolerance,
                          double threshold);

struct LocalizationScore {
  std::string label;  // "all" for the sum
  int64_t count = 0, hits = 0, near = 0, elsewhere = 0;
  double chance = 0.0;  // mean area share
  double mean_iou = 0.0;
  std::array<int64_t, kOverlaps.size()> overlapping{};  // cases with at least that IoU
};

// One per label in the order given, without those that have no case, then "all". `elsewhere` counts the hits
// when each case is given the peak of the label's next case (the last one that of the first): what the usual
// place of a finding is worth without looking at the image.
std::vector<LocalizationScore> score(const std::vector<LocalizationCase>& cases,
                                     const std::vector<std::string>& labels);

// A row per score, proportions with their intervals.
std::string localization_csv(const std::vector<LocalizationScore>& scores);

}  // namespace medfusion::tools
