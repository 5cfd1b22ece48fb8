#include "tools/evaluation/explain/occlusion.h"

#include <algorithm>
#include <cmath>

#include "core/autograd.h"
#include "layers/module.h"

namespace medfusion::tools {
namespace {

using core::Batch;
using core::Tensor;
using models::Network;

constexpr int64_t kWindows = 16;

std::vector<double> gaussian(double sigma) {
  const auto radius = static_cast<int64_t>(std::ceil(3 * sigma));
  std::vector<double> weights;
  double sum = 0.0;
  for (int64_t i = -radius; i <= radius; ++i) {
    weights.push_back(std::exp(-0.5 * static_cast<double>(i * i) / (sigma * sigma)));
    sum += weights.back();
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Along one axis: lines of `count` entries, `stride` apart.
Tensor blur_lines(const Tensor& image, const std::vector<double>& weights, int64_t count, int64_t stride) {
  const auto radius = static_cast<int64_t>(weights.size() / 2);
  Tensor result = Tensor::empty(image.shape());
  for (int64_t line = 0; line < image.numel() / count; ++line) {
    const int64_t begin = line / stride * count * stride + line % stride;
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0.0;
      for (int64_t k = -radius; k <= radius; ++k) {
        const int64_t at = std::clamp<int64_t>(i + k, 0, count - 1);
        sum += weights[static_cast<size_t>(k + radius)] * image.data<float>()[begin + at * stride];
      }
      result.data<float>()[begin + i * stride] = static_cast<float>(sum);
    }
  }
  return result;
}

// One value per pixel, largest 1 at (row, column).
std::vector<float> window(int64_t height, int64_t width, double row, double column, double sigma) {
  std::vector<float> mask(static_cast<size_t>(height * width));
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double dy = (static_cast<double>(y) - row) / sigma,
                   dx = (static_cast<double>(x) - column) / sigma;
      mask[static_cast<size_t>(y * width + x)] = static_cast<float>(std::exp(-0.5 * (dy * dy + dx * dx)));
    }
  }
  return mask;
}

Tensor logits_of(Network& network, const Batch& inputs) {
  layers::Context context;
  return network.forward(inputs, context).value().to(core::Device{}).to_contiguous();
}

// images with blurred at the window.
Tensor covered(const Tensor& images, const Tensor& blurred, const std::vector<float>& mask,
               int64_t channels) {
  Tensor result = images.clone();
  const auto pixels = static_cast<int64_t>(mask.size());
  float* to = result.data<float>();
  const float* other = blurred.data<float>();
  for (int64_t i = 0; i < result.numel(); ++i) {
    const float weight = mask[static_cast<size_t>(i / channels % pixels)];
    to[i] += weight * (other[i] - to[i]);
  }
  return result;
}

}  // namespace

Tensor gaussian_blur(const Tensor& images, double sigma) {
  const int64_t rank = images.rank();
  const int64_t height = images.size(rank - 3), width = images.size(rank - 2),
                channels = images.size(rank - 1);
  const std::vector<double> weights = gaussian(sigma);
  const Tensor across = blur_lines(images.to_contiguous(), weights, width, channels);
  return blur_lines(across, weights, height, width * channels);
}

std::vector<std::vector<Tensor>> occlusion_maps(Network& network, const Batch& inputs,
                                                const std::vector<int64_t>& labels) {
  const core::NoGradGuard no_gradients;
  const Tensor images = inputs.images.to_contiguous();
  const int64_t batch = images.size(0), height = images.size(1), width = images.size(2),
                channels = images.size(3);
  const Tensor blurred = gaussian_blur(images, static_cast<double>(width) / 8);
  const Tensor whole = logits_of(network, inputs);
  const int64_t outputs = whole.size(1), pixels = height * width;
  const auto count = static_cast<int64_t>(labels.size());
  std::vector<double> sums(static_cast<size_t>(batch * count * pixels), 0.0),
      weights(static_cast<size_t>(pixels), 0.0);
  for (int64_t place = 0; place < kWindows * kWindows; ++place) {
    const auto centre = [](int64_t step, int64_t size) {
      return (static_cast<double>(step) + 0.5) * static_cast<double>(size) / kWindows - 0.5;
    };
    const auto mask = window(height, width, centre(place / kWindows, height), centre(place % kWindows, width),
                             3.0 / 64 * static_cast<double>(width));
    Batch hidden = inputs;
    hidden.images = covered(images, blurred, mask, channels);
    const Tensor logits = logits_of(network, hidden);
    for (int64_t p = 0; p < pixels; ++p) weights[static_cast<size_t>(p)] += mask[static_cast<size_t>(p)];
    for (int64_t i = 0; i < batch * count; ++i) {
      const int64_t at = i / count * outputs + labels[static_cast<size_t>(i % count)];
      const double drop = whole.data<float>()[at] - logits.data<float>()[at];
      double* sum = sums.data() + i * pixels;
      for (int64_t p = 0; p < pixels; ++p) sum[p] += drop * mask[static_cast<size_t>(p)];
    }
  }
  std::vector<std::vector<Tensor>> maps(static_cast<size_t>(batch));
  for (int64_t i = 0; i < batch * count; ++i) {
    Tensor map = Tensor::empty({height, width});
    for (int64_t p = 0; p < pixels; ++p) {
      const double mean = sums[static_cast<size_t>(i * pixels + p)] / weights[static_cast<size_t>(p)];
      map.data<float>()[p] = static_cast<float>(std::max(0.0, mean));
    }
    maps[static_cast<size_t>(i / count)].push_back(map);
  }
  return maps;
}

}  // namespace medfusion::tools
