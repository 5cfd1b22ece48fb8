// Weights from another network as a start: tensors by name, rows by what they stand for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "optim/checkpoint.h"

namespace medfusion::optim {

// What the rows of a network's tensors stand for, in order. Unset: not known, as in foreign files.
struct RowNames {
  std::optional<std::vector<std::string>> labels;
  std::string output = {};  // of the labels, "sigmoid" or "softmax"; empty: not known
  std::optional<std::vector<std::string>> features;  // of the table
  std::vector<int64_t> bins;                         // of each feature; empty: tokens carry none
  std::optional<std::vector<std::string>> words;     // word i is row i + 2: padding and unknown come first
  std::optional<std::vector<std::string>> levels;    // whose pixels are tokens
};

struct Share {
  int64_t loaded = 0;
  int64_t all = 0;
  double fraction() const { return all == 0 ? 1.0 : static_cast<double>(loaded) / static_cast<double>(all); }
};

struct TransferReport {
  Share tensors;     // parameters and statistics; one of which some rows were taken counts as loaded
  Share parameters;  // single numbers that are trained
  Share backbone;    // of these, backbone_names() (optim/freeze.h); all of them in a network that has none
  std::vector<std::string> anew;    // what keeps its start: tensors with the reason, labels, features, words
  std::vector<std::string> unused;  // what the file has and the network does not take
  std::vector<std::string> notes;   // what was taken by its place alone
};

// The name that this project has for a tensor of a foreign file: without "module." and "densenet121." at its
// start, and with torchvision's DenseNet names for those of 2017 ("denselayer1.norm.1"), MONAI's
// ("denselayer1.layers.norm1", "class_layers.out") and CheXNet's ("classifier.0"). Others stay as they are.
std::string own_name(const std::string& name);

// Copies what `tensors` have for the network, with "features." at the start of a name or without it; `own`
// and `given` say what the rows of either stand for, and `file` is the name that errors and notes carry. Rows
// of label-wise tensors, table tokens and their bins, words, token levels and gated branches go to the row of
// the same name; where the file does not name its rows they go by their place, if the counts agree, and a
// note says so. A row that the file does not have, and a tensor that it does not have or has in another
// shape, keeps what it was. So do all rows of labels where both say their output and it is not the same: a
// logit means something else there. Optimizer state, averages and "num_batches_tracked" are passed over.
// Throws core::InputError, before anything is changed, where two tensors have the same name here, or none has
// one of the network's.
TransferReport transfer_weights(layers::Module& network, const RowNames& own, const NamedTensors& tensors,
                                const RowNames& given, const std::string& file);

}  // namespace medfusion::optim
