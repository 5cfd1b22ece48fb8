// What a network's AUROC has to be held against: chance, the table without the image, the view alone, and
// which cells of the table are empty.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace medfusion::tools {

// The controls that evaluation.controls may name, in the order of evaluation.json.
inline constexpr std::array kControlNames{"labels_shuffled", "table_only", "view_only", "missing_only"};

// Scores of all labels on the evaluated rows that a control gives, instead of those of the network.
struct Control {
  std::string name;                         // "table_only"
  std::string description;                  // one sentence
  std::vector<std::vector<double>> scores;  // [labels][rows]; empty where `undefined` says why
  std::string undefined;
};

// Logistic regression (ridge 1 on standardized features) per label, fitted to the rows `train` of the
// columns and applied to the rows `rows`. The features are those of data::TableEncoder fitted on `train`,
// and one for each feature that is missing somewhere in training. A label with one class in training scores
// its share of positives.
Control table_control(const data::Dataset& dataset, const std::vector<data::Column>& columns,
                      const std::vector<int64_t>& train, const std::vector<int64_t>& rows,
                      const std::string& name, const std::string& description);

// table_only (all columns of the dataset), view_only (the column called view, in any case of letters) and
// missing_only (for each column whether its cell is empty, and nothing of what it holds), as far as `wanted`
// names them; undefined where the data has no such column, no training rows or no empty cell in them.
std::vector<Control> standard_controls(const data::Dataset& dataset, const std::vector<int64_t>& train,
                                       const std::vector<int64_t>& rows,
                                       const std::vector<std::string>& wanted = {kControlNames.begin(),
                                                                                 kControlNames.end()});

// The AUROC of each label, and the macro average, of scores against targets shuffled among the rows (whole
// rows, the same shuffle for all labels), repeatedly. Seeded.
struct ShuffledAuroc {
  std::vector<std::vector<double>> labels;  // [labels][repeats], NaN where undefined
  std::vector<double> macro;                // [repeats]
};
ShuffledAuroc shuffled_auroc(const std::vector<std::vector<double>>& scores,
                             const std::vector<std::vector<double>>& targets, int64_t repeats, uint64_t seed);

}  // namespace medfusion::tools
