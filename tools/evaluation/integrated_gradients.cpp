#include "tools/evaluation/integrated_gradients.h"

#include <algorithm>

#include "layers/trace.h"
#include "tools/evaluation/occlusion.h"

namespace medfusion::tools {
namespace {

using core::Tensor;
using core::Variable;
using models::Inputs;
using models::Network;

constexpr int kSteps = 8;

// Of sum(direction * logits) with respect to the images: f32 [B, H, W, C] on the host. In evaluation samples
// do not see each other.
Tensor image_gradient(const Network& network, const Inputs& inputs, const Tensor& direction) {
  layers::Trace trace;
  trace.wanted = {"image"};
  layers::Context context;
  context.trace = &trace;
  const Variable logits = network.forward(inputs, context);
  Tensor upstream = Tensor::zeros(logits.shape(), logits.dtype());
  upstream.slice(1, 0, direction.size(1)).copy_from(direction.to(logits.dtype()));
  logits.backward(upstream.to(logits.value().device()));
  return trace.cuts.at("image").gradient().to(core::Device{}).to(core::DType::f32).to_contiguous();
}

// One label of each sample at a time: for each sample the places of its wanted labels, in rounds.
std::vector<std::vector<size_t>> rounds_of(int64_t batch, size_t labels,
                                           const std::vector<std::vector<bool>>& wanted) {
  std::vector<std::vector<size_t>> rounds(static_cast<size_t>(batch));
  for (size_t b = 0; b < rounds.size(); ++b) {
    for (size_t l = 0; l < labels; ++l) {
      if (wanted.empty() || wanted[b][l]) rounds[b].push_back(l);
    }
  }
  return rounds;
}

}  // namespace

std::vector<std::vector<Tensor>> integrated_gradients(const Network& network, const Inputs& inputs,
                                                      const std::vector<int64_t>& labels,
                                                      const std::vector<std::vector<bool>>& wanted) {
  const Tensor images = inputs.images.to_contiguous();
  const int64_t batch = images.size(0), height = images.size(1), width = images.size(2),
                channels = images.size(3), pixels = height * width;
  Tensor difference = images.clone();
  for (int64_t b = 0; b < batch; ++b) {
    const Tensor blurred =
        gaussian_blur(images.slice(0, b, b + 1).squeeze(0), 3.0 / 64 * static_cast<double>(width));
    float* at = difference.data<float>() + b * blurred.numel();
    for (int64_t i = 0; i < blurred.numel(); ++i) at[i] -= blurred.data<float>()[i];
  }
  const int64_t outputs = 1 + *std::max_element(labels.begin(), labels.end());
  const auto rounds = rounds_of(batch, labels.size(), wanted);
  size_t most = 0;
  std::vector<std::vector<Tensor>> maps(static_cast<size_t>(batch), std::vector<Tensor>(labels.size()));
  for (size_t b = 0; b < maps.size(); ++b) {
    for (const size_t l : rounds[b]) maps[b][l] = Tensor::zeros({height, width});
    most = std::max(most, rounds[b].size());
  }
  const float *image = images.data<float>(), *change = difference.data<float>();
  for (int step = 0; step < kSteps; ++step) {
    const float left = 1.0F - (static_cast<float>(step) + 0.5F) / kSteps;  // of the way to the image
    Inputs between = inputs;
    between.images = Tensor::empty(images.shape());
    for (int64_t i = 0; i < images.numel(); ++i) {
      between.images.data<float>()[i] = image[i] - left * change[i];
    }
    for (size_t round = 0; round < most; ++round) {
      Tensor direction = Tensor::zeros({batch, outputs});
      for (int64_t b = 0; b < batch; ++b) {
        const auto& mine = rounds[static_cast<size_t>(b)];
        if (round < mine.size()) direction.data<float>()[b * outputs + labels[mine[round]]] = 1.0F;
      }
      const Tensor gradient = image_gradient(network, between, direction);
      for (int64_t b = 0; b < batch; ++b) {
        const auto& mine = rounds[static_cast<size_t>(b)];
        if (round >= mine.size()) continue;
        float* map = maps[static_cast<size_t>(b)][mine[round]].data<float>();
        for (int64_t i = 0; i < pixels * channels; ++i) {
          const int64_t at = b * pixels * channels + i;
          map[i / channels] += gradient.data<float>()[at] * change[at] / kSteps;
        }
      }
    }
  }
  return maps;
}

}  // namespace medfusion::tools
