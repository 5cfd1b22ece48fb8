// Rows are taken in chunks that stay in the first-level cache; what a chunk sums is combined in order, in
// double.
#include <cmath>
#include <vector>

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/batch_norm/batch_norm.h"
#include "kernels/batch_norm/batch_norm_rows.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/batch_norm/batch_norm_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using batch_norm::BackwardRows;
using batch_norm::Channels;
using batch_norm::Rows;

// Per channel the sum of a chunk's rows and the sum of squared deviations from the chunk's own mean.
void statistics_chunk(const Rows& x, int64_t channels, float* sums, float* squares) {
  const float inv_count = 1.0F / static_cast<float>(x.count);
  for_vectors(channels, [&](auto d, int64_t c) {
    auto even = hn::Zero(d), odd = even;
    int64_t r = 0;
    for (; r + 2 <= x.count; r += 2) {
      even = hn::Add(even, hn::LoadU(d, x.row(r) + c));
      odd = hn::Add(odd, hn::LoadU(d, x.row(r + 1) + c));
    }
    if (r < x.count) even = hn::Add(even, hn::LoadU(d, x.row(r) + c));
    const auto sum = hn::Add(even, odd);
    const auto mean = hn::Mul(sum, hn::Set(d, inv_count));
    auto square_even = hn::Zero(d), square_odd = square_even;
    for (r = 0; r + 2 <= x.count; r += 2) {
      const auto a = hn::Sub(hn::LoadU(d, x.row(r) + c), mean);
      const auto b = hn::Sub(hn::LoadU(d, x.row(r + 1) + c), mean);
      square_even = hn::MulAdd(a, a, square_even);
      square_odd = hn::MulAdd(b, b, square_odd);
    }
    if (r < x.count) {
      const auto a = hn::Sub(hn::LoadU(d, x.row(r) + c), mean);
      square_even = hn::MulAdd(a, a, square_even);
    }
    hn::StoreU(sum, d, sums + c);
    hn::StoreU(hn::Add(square_even, square_odd), d, squares + c);
  });
}

// y = (x - mean) scale + bias. Forward and backward share it, so that both see the same sign.
template <class V>
HWY_INLINE V affine(V x, V mean, V scale, V bias) {
  return hn::MulAdd(hn::Sub(x, mean), scale, bias);
}

void normalize_rows(const Rows& x, float* y, int64_t stride_y, int64_t channels, const Channels& p,
                    bool relu) {
  const auto run = [&](auto finish) {
    for (int64_t r = 0; r < x.count; ++r) {
      const float* from = x.row(r);
      float* to = y + r * stride_y;
      for_vectors(channels, [&](auto d, int64_t c) {
        const auto value = affine(hn::LoadU(d, from + c), hn::LoadU(d, p.mean + c), hn::LoadU(d, p.scale + c),
                                  hn::LoadU(d, p.bias + c));
        hn::StoreU(finish(d, value), d, to + c);
      });
    }
  };
  if (relu) {
    run([](auto d, auto v) { return hn::IfThenZeroElse(hn::Lt(v, hn::Zero(d)), v); });
  } else {
    run([](auto, auto v) { return v; });
  }
}

template <bool relu, class D, class V>
HWY_INLINE V upstream(D d, V g, V centered, V scale, V bias) {
  if constexpr (!relu) return g;
  return hn::IfThenElseZero(hn::Gt(hn::MulAdd(centered, scale, bias), hn::Zero(d)), g);
}

// Per channel the sums over a chunk of g and of g (x - mean).
template <bool relu>
void sums_chunk(const BackwardRows& a, int64_t channels, const Channels& p, float* sum_g, float* sum_gx) {
  for_vectors(channels, [&](auto d, int64_t c) {
    const auto mean = hn::LoadU(d, p.mean + c);
    const auto scale = hn::LoadU(d, p.scale + c);
    const auto bias = hn::LoadU(d, p.bias + c);
    auto s = hn::Zero(d), sx = s;
    for (int64_t r = 0; r < a.x.count; ++r) {
      const auto centered = hn::Sub(hn::LoadU(d, a.x.row(r) + c), mean);
      const auto g = upstream<relu>(d, hn::LoadU(d, a.grad_y.row(r) + c), centered, scale, bias);
      s = hn::Add(s, g);
      sx = hn::MulAdd(g, centered, sx);
    }
    hn::StoreU(s, d, sum_g + c);
    hn::StoreU(sx, d, sum_gx + c);
  });
}
void backward_sums(const BackwardRows& a, int64_t channels, const Channels& p, bool relu, float* sum_g,
                   float* sum_gx) {
  return relu ? sums_chunk<true>(a, channels, p, sum_g, sum_gx)
              : sums_chunk<false>(a, channels, p, sum_g, sum_gx);
}

// grad_x = scale (g - offset - slope (x - mean)).
template <bool relu>
void grad_rows(const BackwardRows& a, int64_t channels, const Channels& p, const float* offset,
               const float* slope) {
  for (int64_t r = 0; r < a.x.count; ++r) {
    const float* x = a.x.row(r);
    const float* grad_y = a.grad_y.row(r);
    float* grad_x = a.grad_x + r * a.stride_grad_x;
    for_vectors(channels, [&](auto d, int64_t c) {
      const auto scale = hn::LoadU(d, p.scale + c);
      const auto centered = hn::Sub(hn::LoadU(d, x + c), hn::LoadU(d, p.mean + c));
      const auto g = upstream<relu>(d, hn::LoadU(d, grad_y + c), centered, scale, hn::LoadU(d, p.bias + c));
      const auto rest =
          hn::NegMulAdd(hn::LoadU(d, slope + c), centered, hn::Sub(g, hn::LoadU(d, offset + c)));
      hn::StoreU(hn::Mul(scale, rest), d, grad_x + c);
    });
  }
}
void backward_rows(const BackwardRows& a, int64_t channels, const Channels& p, bool relu, const float* offset,
                   const float* slope) {
  return relu ? grad_rows<true>(a, channels, p, offset, slope)
              : grad_rows<false>(a, channels, p, offset, slope);
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

using batch_norm::BackwardRows;
using batch_norm::Channels;
using batch_norm::Rows;

HWY_EXPORT(statistics_chunk);
HWY_EXPORT(normalize_rows);
HWY_EXPORT(backward_sums);
HWY_EXPORT(backward_rows);

constexpr int64_t kGrain = 1 << 15;  // elements per task

// Rows of one chunk: about 16 KiB, few enough for sums in float.
int64_t chunk_rows(int64_t channels) {
  return std::clamp<int64_t>(4096 / std::max<int64_t>(1, channels), 16, 256);
}

Rows rows_of(const core::View& view, int64_t first, int64_t last) {
  return {view.as<float>() + first * view.row_stride(), view.row_stride(), last - first};
}

// Calls body(chunk, first, last) for every chunk of rows, in parallel.
template <class Body>
void for_chunks(int64_t rows, int64_t channels, const Body& body) {
  const int64_t size = chunk_rows(channels);
  core::parallel_for(0, (rows + size - 1) / size, std::max<int64_t>(1, kGrain / (size * channels)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t i = begin; i < end; ++i)
                         body(i, i * size, std::min(rows, (i + 1) * size));
                     });
}

// Two sums per chunk and channel: [chunks][2][channels].
class Partials {
 public:
  Partials(int64_t rows, int64_t channels)
      : rows_(rows),
        channels_(channels),
        chunks_((rows + chunk_rows(channels) - 1) / chunk_rows(channels)),
        values_(core::Tensor::empty({chunks_ * 2 * channels})) {}

  int64_t chunks() const { return chunks_; }
  int64_t rows_in(int64_t chunk) const {
    return std::min(chunk_rows(channels_), rows_ - chunk * chunk_rows(channels_));
  }
  float* first(int64_t chunk) const { return values_.data<float>() + chunk * 2 * channels_; }
  float* second(int64_t chunk) const { return first(chunk) + channels_; }

  // The totals in double, [channels] each.
  std::vector<double> total_of(float* (Partials::*which)(int64_t) const) const {
    std::vector<double> total(static_cast<size_t>(channels_), 0.0);
    for (int64_t i = 0; i < chunks_; ++i) {
      const float* values = (this->*which)(i);
      for (int64_t c = 0; c < channels_; ++c) total[static_cast<size_t>(c)] += static_cast<double>(values[c]);
    }
    return total;
  }

 private:
  int64_t rows_, channels_, chunks_;
  core::Tensor values_;
};

// Mean and biased variance in double.
void compute_statistics(const core::View& x, std::vector<double>& mean, std::vector<double>& variance) {
  const int64_t channels = x.size(-1);
  const int64_t rows = x.rows();
  const Partials partials(rows, channels);
  for_chunks(rows, channels, [&](int64_t i, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(statistics_chunk)
    (rows_of(x, first, last), channels, partials.first(i), partials.second(i));
  });
  const auto n = static_cast<double>(rows);
  mean = partials.total_of(&Partials::first);
  variance = partials.total_of(&Partials::second);
  for (double& m : mean) m /= n;
  // Squares about the common mean: those about the chunk's own, and count times the distance of the two
  // squared (Chan, Golub and LeVeque 1983). The chunk took its mean in float; a mean that is off by e adds
  // count e^2, far below rounding.
  for (int64_t i = 0; i < partials.chunks(); ++i) {
    const auto count = static_cast<double>(partials.rows_in(i));
    for (int64_t c = 0; c < channels; ++c) {
      const auto channel = static_cast<size_t>(c);
      const double distance = static_cast<double>(partials.first(i)[c]) / count - mean[channel];
      variance[channel] += count * distance * distance;
    }
  }
  for (double& v : variance) v /= n;
}

void run_statistics(const BatchNormStatistics& a) {
  std::vector<double> mean, variance;
  if (a.x.size(-1) == 0) return;
  compute_statistics(a.x, mean, variance);
  for (size_t c = 0; c < mean.size(); ++c) {
    a.mean.as<float>()[c] = static_cast<float>(mean[c]);
    a.variance.as<float>()[c] = static_cast<float>(variance[c]);
  }
}

// weight inv_std, [channels]
std::vector<float> scales(const core::View& weight, const core::View& inv_std) {
  std::vector<float> scale(static_cast<size_t>(weight.numel()));
  for (size_t c = 0; c < scale.size(); ++c) scale[c] = weight.as<float>()[c] * inv_std.as<float>()[c];
  return scale;
}

void run_forward(const BatchNormForward& a) {
  const int64_t channels = a.x.size(-1);
  const int64_t rows = a.x.rows();
  if (channels == 0) return;
  auto* running_mean = a.running_mean.as<float>();
  auto* running_var = a.running_var.as<float>();
  std::vector<double> mean(running_mean, running_mean + channels);
  std::vector<double> variance(running_var, running_var + channels);
  if (a.training) {
    compute_statistics(a.x, mean, variance);
    const double unbiased = rows > 1 ? static_cast<double>(rows) / static_cast<double>(rows - 1) : 1.0;
    for (int64_t c = 0; c < channels; ++c) {
      const auto i = static_cast<size_t>(c);
      const auto move = [&](float& running, double batch) {
        running = static_cast<float>(running + a.momentum * (batch - running));
      };
      move(running_mean[c], mean[i]);
      move(running_var[c], variance[i] * unbiased);
    }
  }
  for (size_t c = 0; c < mean.size(); ++c) {
    a.mean.as<float>()[c] = static_cast<float>(mean[c]);
    a.inv_std.as<float>()[c] = static_cast<float>(1.0 / std::sqrt(variance[c] + a.eps));
  }
  const std::vector<float> scale = scales(a.weight, a.inv_std);
  const Channels channel{a.mean.as<float>(), scale.data(), a.bias.as<float>()};
  for_chunks(rows, channels, [&](int64_t, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(normalize_rows)
    (rows_of(a.x, first, last), a.y.as<float>() + first * a.y.row_stride(), a.y.row_stride(), channels,
     channel, a.relu);
  });
}

void run_backward(const BatchNormBackward& a) {
  const int64_t channels = a.x.size(-1);
  const int64_t rows = a.x.rows();
  if (channels == 0) return;
  const std::vector<float> scale = scales(a.weight, a.inv_std);
  const Channels channel{a.mean.as<float>(), scale.data(), a.bias.as<float>()};
  const auto rows_at = [&](int64_t first, int64_t last) {
    BackwardRows part{rows_of(a.x, first, last), rows_of(a.grad_y, first, last), nullptr, 0};
    if (a.grad_x.defined()) {
      part.stride_grad_x = a.grad_x.row_stride();
      part.grad_x = a.grad_x.as<float>() + first * part.stride_grad_x;
    }
    return part;
  };
  std::vector<float> offset(scale.size(), 0.0F), slope(scale.size(), 0.0F);
  if (a.training || a.grad_weight.defined() || a.grad_bias.defined()) {
    const Partials partials(rows, channels);
    for_chunks(rows, channels, [&](int64_t i, int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(backward_sums)
      (rows_at(first, last), channels, channel, a.relu, partials.first(i), partials.second(i));
    });
    const std::vector<double> sum_g = partials.total_of(&Partials::first);
    const std::vector<double> sum_gx = partials.total_of(&Partials::second);
    const auto n = static_cast<double>(rows);
    for (size_t c = 0; c < scale.size(); ++c) {
      const auto inv_std = static_cast<double>(a.inv_std.as<float>()[c]);
      if (a.grad_bias.defined()) a.grad_bias.as<float>()[c] = static_cast<float>(sum_g[c]);
      if (a.grad_weight.defined()) a.grad_weight.as<float>()[c] = static_cast<float>(sum_gx[c] * inv_std);
      if (!a.training || rows == 0) continue;
      offset[c] = static_cast<float>(sum_g[c] / n);
      slope[c] = static_cast<float>(sum_gx[c] * inv_std * inv_std / n);
    }
  }
  if (!a.grad_x.defined()) return;
  for_chunks(rows, channels, [&](int64_t, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(backward_rows)
    (rows_at(first, last), channels, channel, a.relu, offset.data(), slope.data());
  });
}

const Register<BatchNormStatistics> statistics("cpu", kCpu, 10, {takes::f32, takes::uniform_rows},
                                               run_statistics);
const Register<BatchNormForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<BatchNormBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
