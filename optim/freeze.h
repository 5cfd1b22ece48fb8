// Training a part of a network.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "layers/module.h"
#include "optim/optimizer.h"

namespace medfusion::optim {

// Freezes every parameter that has one of the names or lies below it: "features" is "features.conv0.weight"
// and all others that begin with "features.". They are constants from then on: no gradient, no update, no
// weight decay; a batch norm whose weight and bias are frozen normalizes by its running statistics, in
// training as in prediction, and leaves them. Throws core::InputError, naming `key` and the nearest name, and
// changes nothing where no parameter has a name, or where none would be left to train.
void freeze(layers::Module& network, const std::vector<std::string>& names, const std::string& key);

// Of these names of parameters, those that published weights of the backbone have: "features.*" but for the
// simple pyramid of a ViT; in a published classifier (models/backbone.h) all but the last layer and the
// fusion with a table; none in other networks.
std::set<std::string> backbone_names(const std::set<std::string>& parameters);
// The same in blocks, in the order of the network: a stage of a ResNet or a ConvNeXt, a dense block, a block
// of a ViT, a stage of an EfficientNet. What comes before the first block is the first set, and what follows
// a block belongs to it. Without a backbone empty.
std::vector<std::set<std::string>> backbone_blocks(const Parameters& parameters);
bool is_published_head(const std::string& name);  // of a parameter of that layer

// The parameters that are not frozen.
Parameters trained_parameters(const layers::Module& network);

}  // namespace medfusion::optim
