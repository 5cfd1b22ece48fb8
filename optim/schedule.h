// Learning rate over the steps of a training: linear warm-up, then constant or a half cosine.
#pragma once

#include <cstdint>

namespace medfusion::optim {

// For step = 0, 1, ..., total_steps - 1:
//   step < warmup_steps:  peak (step + 1) / warmup_steps
//   else, cosine:         minimum + (peak - minimum) (1 + cos(pi t)) / 2,
//                         t = (step - warmup_steps) / (total_steps - warmup_steps)
//   else:                 peak
// From total_steps on a cosine stays at the minimum.
struct Schedule {
  double peak = 0.0;
  double minimum = 0.0;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  bool cosine = true;

  double learning_rate(int64_t step) const;
};

}  // namespace medfusion::optim
