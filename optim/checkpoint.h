// Weights of a network in and out of safetensors, by name.
#pragma once

#include <map>
#include <string>

#include "models/network.h"

namespace medfusion::optim {

using NamedTensors = std::map<std::string, core::Tensor>;

// Every parameter and buffer of the network, sharing its memory.
NamedTensors weights_of(const layers::Module& network);

// Names that are no weights: "optimizer.*", "ema.*", and torchvision's "num_batches_tracked".
bool passed_over(const std::string& name);

// Copies tensors into the network's parameters and buffers of the same name, all of which must be there in
// the same shape; others are ignored. Throws core::InputError naming `file`, before anything is changed.
void load_weights(layers::Module& network, const NamedTensors& tensors, const std::string& file);

}  // namespace medfusion::optim
