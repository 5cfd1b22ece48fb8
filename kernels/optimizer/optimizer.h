// What a training step does to parameters: optimizer updates, the gradient norm, weight averaging. Each is
// one pass over memory. All views of a call are contiguous, of one shape and (but for the norm) one dtype,
// f32 or f64, and do not overlap.
#pragma once

#include "core/view.h"

namespace medfusion::kernels {

// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW. With g = grad_scale *
// gradient, t = step, all of the right-hand sides old but for m and v in the last line:
//   m += (1 - beta1) (g - m)
//   v += (1 - beta2) (g^2 - v)
//   p -= learning_rate (weight_decay p + m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps))
struct AdamWStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "adamw";
  double learning_rate;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  double grad_scale;
  int64_t step;              // counts from 1
  core::View parameter;      // updated
  core::View gradient;       // read
  core::View first_moment;   // updated
  core::View second_moment;  // updated
};

// Gradient descent with momentum, as torch.optim.SGD without dampening. With g = grad_scale * gradient +
// weight_decay * p:
//   u = momentum u + g            (from u = 0)
//   p -= learning_rate (nesterov ? g + momentum u : u)
struct SgdStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "sgd";
  double learning_rate;
  double momentum;
  double weight_decay;
  double grad_scale;
  bool nesterov;
  core::View parameter;  // updated
  core::View gradient;   // read
  core::View velocity;   // updated; undefined where momentum is 0
};

// result = sum of x^2, accumulated in double over fixed chunks, so that it does not depend on the threads.
struct SquaredNorm {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "squared_norm";
  core::View x;
  core::View result;  // f64 [1], overwritten
};

// average += (1 - decay) (value - average)
struct AverageStep {
  static constexpr const char* kOperation = "optimizer";
  static constexpr const char* kDirection = "average";
  double decay;
  core::View value;    // read
  core::View average;  // updated
};

}  // namespace medfusion::kernels
