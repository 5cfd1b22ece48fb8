#include "optim/mixup.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr uint64_t kMixKey = 0x6D697875702121U;  // keeps these draws apart from others of the same seed

struct Mix {
  float share = 1.0F;
  std::vector<int64_t> partner;  // of each row of the shard
};

// Beta(alpha, alpha) by Johnk's method, in logarithms, since small alpha leave a float's range.
double draw_share(core::Generator& random, double alpha) {
  while (true) {
    const auto draw = [&] { return std::log((static_cast<double>(random.next()) + 0.5) * 0x1p-32) / alpha; };
    const double x = draw(), y = draw();
    if (std::exp(x) + std::exp(y) <= 1.0) return 1.0 / (1.0 + std::exp(y - x));
  }
}

// Of f32 [n, ...] the rows [first, first + partners).
void mix_rows(Tensor& tensor, int64_t first, const Mix& mix) {
  const int64_t width = tensor.numel() / std::max<int64_t>(1, tensor.size(0));
  const auto count = static_cast<int64_t>(mix.partner.size());
  const Tensor before = tensor.slice(0, first, first + count).clone();
  const float* const old = before.data<float>();
  float* out = tensor.data<float>() + first * width;
  for (int64_t row = 0; row < count; ++row) {
    const float* const own = old + row * width;
    const float* const other = old + mix.partner[static_cast<size_t>(row)] * width;
    for (int64_t i = 0; i < width; ++i) *out++ = mix.share * own[i] + (1.0F - mix.share) * other[i];
  }
}

void mix_presence(const Tensor& present, int64_t first, const Mix& mix) {
  bool* const values = present.data<bool>() + first;
  const std::vector<bool> before(values, values + mix.partner.size());
  for (size_t row = 0; row < before.size(); ++row)
    values[row] = before[row] || before[static_cast<size_t>(mix.partner[row])];
}

}  // namespace

void mix_up(core::Batch& batch, double alpha, const core::ShardPlan& plan, uint64_t seed, int64_t step) {
  MEDFUSION_CHECK(alpha > 0.0 && alpha <= 1.0, "mixup: expected alpha in (0, 1], got {}", alpha);
  const int64_t rows = batch.whole_size();
  const core::RowRange own = plan.own_rows(rows);
  for (int64_t shard = 0; shard < plan.shards; ++shard) {
    const core::RowRange range = plan.rows_of(shard, rows);
    core::Generator random(seed ^ kMixKey, static_cast<uint64_t>(step * plan.shards + shard));
    Mix mix;
    mix.share = static_cast<float>(draw_share(random, alpha));
    mix.partner.resize(static_cast<size_t>(range.count()));
    std::iota(mix.partner.begin(), mix.partner.end(), int64_t{0});
    random.shuffle(mix.partner);
    if (batch.whole_targets.defined()) mix_rows(batch.whole_targets, range.first, mix);
    if (range.first < own.first || range.last > own.last) continue;
    const int64_t first = range.first - own.first;
    mix_rows(batch.targets, first, mix);
    if (batch.images.defined()) mix_rows(batch.images, first, mix);
    if (batch.image_present.defined()) mix_presence(batch.image_present, first, mix);
  }
}

}  // namespace medfusion::optim
