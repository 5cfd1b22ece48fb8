// A row at a time, rows on several threads; sums are in double and in a fixed order.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/threads.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

constexpr int64_t kGrain = 1 << 11;  // elements per task

struct Sums {
  double loss = 0.0, total = 0.0;
};

// One row of the data, and what both directions need of it.
struct Row {
  const float* logits;
  const float* targets;
  const float* class_weight;  // null: 1
  int64_t labels;
  float kept, spread;  // 1 - label_smoothing, label_smoothing / labels
  bool known = true;
  float largest = 0.0F, sum = 0.0F;  // of the logits, of exp(logit - largest)

  float weight(int64_t c) const { return class_weight != nullptr ? class_weight[c] : 1.0F; }
  float share(int64_t c) const { return weight(c) * (kept * targets[c] + spread); }
};

template <class Args>
Row row_of(const Args& a, int64_t row) {
  const int64_t labels = a.logits.size(1);
  Row r{.logits = a.logits.template as<float>() + row * a.logits.row_stride(),
        .targets = a.targets.template as<float>() + row * a.targets.row_stride(),
        .class_weight = a.class_weight.defined() ? a.class_weight.template as<float>() : nullptr,
        .labels = labels,
        .kept = static_cast<float>(1.0 - a.label_smoothing),
        .spread = static_cast<float>(a.label_smoothing / static_cast<double>(labels))};
  r.known = std::all_of(r.targets, r.targets + labels, [](float target) { return target >= 0.0F; });
  if (!r.known) return r;
  r.largest = *std::max_element(r.logits, r.logits + labels);
  for (int64_t c = 0; c < labels; ++c) r.sum += std::exp(r.logits[c] - r.largest);
  return r;
}

int64_t rows_per_task(const core::View& logits) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, logits.size(1)));
}

void run_forward(const CrossEntropyForward& a) {
  const int64_t rows = a.logits.size(0), grain = rows_per_task(a.logits);
  std::vector<Sums> tasks(static_cast<size_t>((rows + grain - 1) / grain));
  core::parallel_for(0, rows, grain, [&](int64_t first, int64_t last) {
    Sums& task = tasks[static_cast<size_t>(first / grain)];
    for (int64_t i = first; i < last; ++i) {
      const Row r = row_of(a, i);
      if (!r.known) continue;
      const float rest = std::log(r.sum);
      for (int64_t c = 0; c < r.labels; ++c) {
        task.loss += static_cast<double>(r.share(c) * (r.largest - r.logits[c] + rest));
        task.total += static_cast<double>(r.weight(c) * r.targets[c]);
      }
    }
  });
  Sums all;
  for (const Sums& task : tasks) {
    all.loss += task.loss;
    all.total += task.total;
  }
  *a.loss.as<float>() = all.total > 0.0 ? static_cast<float>(all.loss / all.total) : 0.0F;
  *a.total.as<float>() = static_cast<float>(all.total);
}

void run_backward(const CrossEntropyBackward& a) {
  const float total = *a.total.as<float>();
  const float scale = total > 0.0F ? *a.grad_loss.as<float>() / total : 0.0F;
  core::parallel_for(0, a.logits.size(0), rows_per_task(a.logits), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Row r = row_of(a, i);
      float* grad = a.grad_logits.as<float>() + i * a.grad_logits.row_stride();
      float shares = 0.0F;
      for (int64_t c = 0; r.known && c < r.labels; ++c) shares += r.share(c);
      for (int64_t c = 0; c < r.labels; ++c) {
        grad[c] =
            r.known ? scale * (shares * (std::exp(r.logits[c] - r.largest) / r.sum) - r.share(c)) : 0.0F;
      }
    }
  });
}

const Register<CrossEntropyForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<CrossEntropyBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows},
                                              run_backward);

}  // namespace
}  // namespace medfusion::kernels
