// What a checkpoint says of itself: the metadata of best.safetensors and last.safetensors. Values are JSON
// but for the first three.
//   medfusion    the program's version
//   epoch, seed  of the training
//   model        {"name": "medfusionnet", "size": "tiny", "token_levels": [4, 5]}
//   labels       ["Mass", ...], in the order of the outputs
//   output       "sigmoid", or "softmax" of labels of which exactly one is true
//   table        [{"name": "age", "kind": "number", "bins": 4}, ...], the features in the order of their
//                tokens; "kind" is number or category, "bins" only where tokens carry them
//   vocabulary   ["effusion", ...]: word i is row i + 2 of the embedding. All words, however many: without
//                them its rows mean nothing away from the run
//   input        {"size": 64, "channels": 1, "normalize": "fixed", "mean": [0.5], "std": [0.25]}; null for a
//                network that reads no images
#pragma once

#include <map>
#include <string>
#include <vector>

#include "optim/transfer.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

using Metadata = std::map<std::string, std::string>;

// All but the epoch.
Metadata weights_metadata(const Config& config, const std::vector<std::string>& labels,
                          const Preprocessing& preprocessing);

// What metadata says of rows; what it does not have is unset. Throws core::InputError naming `file` where it
// is not as above.
optim::RowNames row_names(const Metadata& metadata, const std::string& file);

}  // namespace medfusion::tools
