#include "optim/schedule.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace medfusion::optim {

double Schedule::learning_rate(int64_t step) const {
  MEDFUSION_CHECK(step >= 0, "schedule: expected a step >= 0, got {}", step);
  if (step < warmup_steps) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (!cosine) return peak;
  if (step >= total_steps) return minimum;
  const double t = static_cast<double>(step - warmup_steps) / static_cast<double>(total_steps - warmup_steps);
  return minimum + (peak - minimum) * 0.5 * (1.0 + std::cos(std::numbers::pi * t));
}

}  // namespace medfusion::optim
