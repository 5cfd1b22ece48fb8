// What a training step does to parameters: optimizer updates, the gradient norm and clipping by it, weight
// averaging. Every call takes all the tensors it concerns, so that a device needs a few launches for a whole
// network; each is one pass over memory. Lists may be empty, and so may tensors. The views of an entry are
// contiguous, of one shape and dtype; the dtype, f32 or f64, is that of all entries. Nothing overlaps.
//
// Numbers that change from step to step (`scalars`, `grad_scale`, `rate`) are f64 beside the tensors, read
// when the kernel runs: a captured step is replayed with new ones. So is what decides that nothing changes: a
// step whose loss or gradient is NaN or infinite must leave no trace, and the host learns of it too late.
#pragma once

#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

// A call's tensors, one of each entry: all of an entry are alike.
template <class Entry>
std::vector<const core::View*> tensors_of(const std::vector<Entry>& entries, core::View Entry::*one) {
  std::vector<const core::View*> tensors;
  for (const Entry& entry : entries) tensors.push_back(&(entry.*one));
  return tensors;
}
inline std::vector<const core::View*> tensors_of(const std::vector<core::View>& views) {
  std::vector<const core::View*> tensors;
  for (const core::View& view : views) tensors.push_back(&view);
  return tensors;
}

// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW. Changes nothing where
// grad_scale is not finite. With g = grad_scale *
// gradient, t the step counted from 1, all of the right-hand sides old but for m and v in the last line:
//   m += (1 - beta1) (g - m)
//   v += (1 - beta2) (g^2 - v)
//   p -= learning_rate (weight_decay p + m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps))
struct AdamWStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "adamw";
  struct Entry {
    double weight_decay;
    core::View parameter;      // updated
    core::View gradient;       // read
    core::View first_moment;   // updated
    core::View second_moment;  // updated
  };
  double beta1;
  double beta2;
  double eps;
  core::View scalars;     // [3]: learning_rate, 1 - beta1^t, 1 - beta2^t
  core::View grad_scale;  // [1]
  std::vector<Entry> entries;
  auto tensors() const { return tensors_of(entries, &Entry::parameter); }
};

// Gradient descent with momentum, as torch.optim.SGD without dampening. Changes nothing where grad_scale is
// not finite. With g = grad_scale * gradient + weight_decay * p:
//   u = momentum u + g            (from u = 0)
//   p -= learning_rate (nesterov ? g + momentum u : u)
struct SgdStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "sgd";
  struct Entry {
    double weight_decay;
    core::View parameter;  // updated
    core::View gradient;   // read
    core::View velocity;   // updated; undefined where momentum is 0
  };
  double momentum;
  bool nesterov;
  core::View scalars;     // [1]: learning_rate
  core::View grad_scale;  // [1]
  std::vector<Entry> entries;
  auto tensors() const { return tensors_of(entries, &Entry::parameter); }
};

// result = sum of x^2 over all tensors, accumulated in double over fixed chunks, so that it does not depend
// on the threads.
struct SquaredNorm {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "squared_norm";
  std::vector<core::View> x;
  core::View result;  // f64 [1], overwritten
  auto tensors() const { return tensors_of(x); }
};

// norm = sqrt(squared_norm); grad_scale = NaN where the norm or the loss is not finite, largest / norm where
// largest > 0 and norm > largest, otherwise 1.
struct ClipByNorm {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "clip";
  double largest;           // 0: no limit
  core::View squared_norm;  // f64 [1]
  core::View norm;          // f64 [1], overwritten
  core::View grad_scale;    // f64 [1], overwritten
  core::View loss = {};     // f64 [1]; undefined: finite
  auto tensors() const { return std::array{&norm}; }
};

// average += rate (value - average). Changes nothing where the gate is not finite.
struct AverageStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "average";
  struct Entry {
    core::View value;    // read
    core::View average;  // updated
  };
  core::View rate;  // [1]: 1 - decay
  core::View gate;  // f64 [1]; undefined: finite
  std::vector<Entry> entries;
  auto tensors() const { return tensors_of(entries, &Entry::value); }
};

// x = 0, for all tensors.
struct ClearTensors {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "clear";
  std::vector<core::View> x;
  auto tensors() const { return tensors_of(x); }
};

}  // namespace medfusion::kernels
