// Exponential moving average of a model's weights (Polyak and Juditsky 1992), used in place of the last
// weights for validation and as the result.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "layers/module.h"

namespace medfusion::optim {

// Averages every parameter and every floating buffer of a module, which lie on one device; other buffers are
// copied. Running statistics are averaged with the same decay because they belong to the weights: those of
// the last weights alone do not fit the averaged ones.
class WeightAverage {
 public:
  // Starts from the module's present values. decay in [0, 1).
  WeightAverage(const layers::Module& module, double decay);

  // average += (1 - d) (value - average), with d = min(decay, (1 + t) / (10 + t)) after t updates, so that
  // the initial weights are soon forgotten. Call after each optimizer step.
  void update();
  // The same in two halves, for a step that is captured: next_rate() counts the update and gives its 1 - d;
  // average() reads that from the device, f64 [1] beside the module, and only queues work there.
  double next_rate();
  // `gate`, f64 [1] beside `rate` where it is defined: where that is not finite, no average changes.
  void average(const core::Tensor& rate, const core::Tensor& gate = {}) const;
  void uncount() { --updates_; }  // of an update that changed nothing
  int64_t updates() const { return updates_; }

  // Exchanges the module's values with the average, in place: no tensor changes its address. Call again to
  // change back; until then update(), tensors() and load() throw.
  void swap();
  bool swapped() const { return swapped_; }

  // The average, sharing memory: the module's names, and "updates" (i64 [1]).
  std::map<std::string, core::Tensor> tensors() const;
  // Copies in what tensors() gave. Throws core::InputError naming `file` and changes nothing where a tensor
  // is missing, has another shape or dtype, or is unknown.
  void load(const std::map<std::string, core::Tensor>& tensors, const std::string& file = {});

 private:
  struct Entry {
    std::string name;
    core::Tensor value;  // the module's own
    core::Tensor average;
  };
  double decay_;
  int64_t updates_ = 0;
  bool swapped_ = false;
  std::vector<Entry> entries_;
  core::Tensor rate_;  // of update(), f64 [1] on the device
};

}  // namespace medfusion::optim
