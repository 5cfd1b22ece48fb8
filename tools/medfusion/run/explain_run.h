// The work of medfusion explain: samples in, explain.json, localization.csv and pictures out. docs/explain.md
// has the form of the files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/evaluation/explain/explain.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

struct ExplainJob {
  std::vector<int64_t> rows;        // of the dataset, in the order wanted
  std::string split;                // the part they are of; empty: images from the command line
  int64_t limit = 24;               // of the rows, how many get an entry and pictures
  std::vector<std::string> labels;  // shown for every sample; empty: those that are positive or predicted
  MapMethod method = MapMethod::hirescam;
  Levels levels;
  std::string boxes;                // file; empty: no localization
  std::optional<double> box_size;   // pixels each way of the images the boxes were drawn on
  double tolerance = 15.0 / 224.0;  // of the pointing game, a fraction of the image
  double threshold = 0.5;           // of the map's box, a fraction of its largest value
};

// Writes into `folder` (made where missing) and returns what explain.json holds. Explains the first `limit`
// rows; the localization score takes all rows that have boxes.
nlohmann::ordered_json explain_run(const TrainedRun& run, const data::Dataset& dataset,
                                   const core::Batch& encoded, const ExplainJob& job,
                                   const std::filesystem::path& folder);

}  // namespace medfusion::tools
