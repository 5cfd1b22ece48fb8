// Weights of a network in and out of safetensors, by name.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/network.h"

namespace medfusion::optim {

using NamedTensors = std::map<std::string, core::Tensor>;

// Every parameter and buffer of the network, sharing its memory.
NamedTensors weights_of(const layers::Module& network);

// What load_weights found.
struct LoadReport {
  int64_t loaded = 0;
  std::vector<std::string> missing;     // in the network, not in the file: keep what they are
  std::vector<std::string> unexpected;  // in the file, not in the network: ignored
};

// Copies tensors into the network's parameters and buffers of the same name. `file` is the name that errors
// carry. A shape that differs is an error; with `strict` a missing name is one too. Names beginning with
// "optimizer." or "ema." and torchvision's "num_batches_tracked" are passed over. At least one name must
// match.
LoadReport load_weights(const layers::Module& network, const NamedTensors& tensors, const std::string& file,
                        bool strict);

}  // namespace medfusion::optim
