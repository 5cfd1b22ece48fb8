// The optimizer's state divided among ranks (ZeRO stage 1: Rajbhandari et al. 2020, "ZeRO: Memory
// Optimizations Toward Training Trillion Parameter Models"): a rank keeps the state of some parameters and
// updates these.
#pragma once

#include <vector>

#include "core/communicator.h"
#include "optim/optimizer.h"
#include "optim/state.h"

namespace medfusion::optim {

// Which parameters a rank updates: neighbors, so that all ranks have about as many values. Every update is
// the one that a rank with all of them would make, bit for bit.
class OptimizerShare {
 public:
  // All parameters, the same on all ranks.
  OptimizerShare(const Parameters& parameters, core::Communicator& ranks);

  // What the optimizer of this rank is to hold; empty where there are fewer parameters than ranks.
  const Parameters& own() const { return own_; }
  // After that optimizer's update: gives every rank the values of all parameters.
  void share_values() const;
  // The state of all parameters, as one optimizer of them all would give it, on every rank. `own` is what
  // this rank's optimizer gives; its parts are named as `parts` ("m", "v").
  NamedTensors gather_state(const NamedTensors& own, const std::vector<std::string>& parts) const;
  // What this rank's optimizer needs of that.
  NamedTensors own_state(const NamedTensors& state) const;

 private:
  // One tensor for each parameter, of which this rank has those of its own; gives every rank all of them.
  void exchange(const std::vector<core::Tensor>& tensors) const;

  const Parameters parameters_;
  core::Communicator& ranks_;
  std::vector<int> owner_;  // of each parameter
  Parameters own_;
};

}  // namespace medfusion::optim
