// The common mistake beside the honest protocol. Publications on small unbalanced tables often resample all
// rows and split them afterwards: then a test row is a mixture of rows that the network was trained on, or a
// copy of one, and is easily recognized. Figures made like this say nothing about new patients.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/medfusion/run/cross_validation.h"

namespace medfusion::tools {

// Cross-validates three times and returns what protocols.json in options.out holds:
//   honest        as configured; in options.out itself
//   as_published  per label: published.method on all rows, then folds of single rows, with
//   published.settings; in
//                 as-published/LABEL. The guard's refusals are overridden for these runs alone
//   same_network  per label: those settings, but the honest folds, and resampled inside the training part; in
//                 same-network/LABEL
// Each holds for "macro" (the mean over the labels) and every label accuracy, f1 (of the positive class),
// f1_weighted (of both classes, weighted by their rows), gmean and auroc, means over folds and seeds at the
// thresholds of the validation parts; null where no fold has a value.
nlohmann::ordered_json compare_protocols(const CrossValidation& options);

// The table of it, headed by why the first column is wrong.
std::string protocols_table(const nlohmann::ordered_json& protocols);

}  // namespace medfusion::tools
