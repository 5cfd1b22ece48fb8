#include "tools/evaluation/explain/saliency.h"

#include <algorithm>
#include <vector>

#include "data/images/transform.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

// One weight per channel. a, g: [pixels, channels].
std::vector<double> channel_weights(MapMethod method, const float* a, const float* g, int64_t pixels,
                                    int64_t channels) {
  std::vector<double> weights(static_cast<size_t>(channels), 0.0);
  for (int64_t c = 0; c < channels; ++c) {
    double& weight = weights[static_cast<size_t>(c)];
    double activation = 0.0;
    for (int64_t p = 0; p < pixels; ++p) activation += a[p * channels + c];
    for (int64_t p = 0; p < pixels; ++p) {
      const double slope = g[p * channels + c];
      if (method == MapMethod::gradcam) {
        weight += slope / static_cast<double>(pixels);
      } else if (slope > 0.0) {
        // Of numerator and denominator, both over slope^2.
        weight += slope / (2.0 + slope * activation);
      }
    }
  }
  return weights;
}

}  // namespace

MapMethod map_method(const std::string& name) {
  const auto found = std::find(kMapMethods.begin(), kMapMethods.end(), name);
  if (found != kMapMethods.end()) return static_cast<MapMethod>(found - kMapMethods.begin());
  core::throw_input_error(
      {},
      "expected gradcam, gradcam++, hirescam, integrated, guided, attention or occlusion, "
      "got '{}'",
      name);
}

Tensor saliency_map(MapMethod method, const Tensor& activations, const Tensor& gradient) {
  MEDFUSION_CHECK(activations.rank() == 3 && activations.shape() == gradient.shape(),
                  "saliency: expected activations and gradient [h, w, C], got {} and {}",
                  activations.shape().str(), gradient.shape().str());
  const Tensor a = activations.to_contiguous(), g = gradient.to_contiguous();
  const int64_t pixels = a.size(0) * a.size(1), channels = a.size(2);
  Tensor map = Tensor::empty({a.size(0), a.size(1)});
  const float *at = a.data<float>(), *slope = g.data<float>();
  std::vector<double> weights;
  if (method == MapMethod::gradcam || method == MapMethod::gradcam_pp)
    weights = channel_weights(method, at, slope, pixels, channels);
  for (int64_t p = 0; p < pixels; ++p) {
    double sum = 0.0;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = p * channels + c;
      sum += at[i] * (weights.empty() ? slope[i] : weights[static_cast<size_t>(c)]);
    }
    map.data<float>()[p] = static_cast<float>(std::max(0.0, sum));
  }
  return map;
}

Tensor upsample_map(const Tensor& map, int64_t height, int64_t width, bool density) {
  Tensor result = data::resize(map.reshape({map.size(0), map.size(1), 1}), height, width)
                      .reshape({height, width})
                      .to_contiguous();
  if (density) {
    const float factor = static_cast<float>(map.numel()) / static_cast<float>(height * width);
    for (int64_t i = 0; i < result.numel(); ++i) result.data<float>()[i] *= factor;
  }
  return result;
}

Peak peak_of(const Tensor& map) {
  const Tensor values = map.to_contiguous();
  const float* first = values.data<float>();
  const float* largest = std::max_element(first, first + values.numel());
  const int64_t at = largest - first;
  return {at / values.size(1), at % values.size(1), *largest};
}

}  // namespace medfusion::tools
