// Named tensors of a checkpoint, checked before they are taken.
#pragma once

#include <map>
#include <string>

#include "core/tensor.h"

namespace medfusion::optim {

using NamedTensors = std::map<std::string, core::Tensor>;

// Throws core::InputError naming `file` where `given` lacks a tensor of `own`, has one of another shape or
// dtype, or one that `own` does not have. `what` says in the message what they are the state of: "optimizer".
void check_state(const NamedTensors& own, const NamedTensors& given, const std::string& what,
                 const std::string& file);

// Throws core::Error, beginning with `what` and naming the tensor, where one holds NaN or infinity.
void check_finite(const NamedTensors& tensors, const std::string& what);

}  // namespace medfusion::optim
