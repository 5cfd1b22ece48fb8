#include "tools/evaluation/explain/integrated_gradients.h"

#include <algorithm>

#include "layers/trace.h"
#include "tools/evaluation/explain/label_rounds.h"
#include "tools/evaluation/explain/occlusion.h"

namespace medfusion::tools {
namespace {

using core::Batch;
using core::Tensor;
using core::Variable;
using models::Network;

constexpr int kPathSteps = 8;
constexpr double kBlur = 1.25 / 64;  // of the image's width

// Of the round's logits with respect to the images: f32 [B, H, W, C] on the host.
Tensor image_gradient(Network& network, const Batch& inputs, const LabelRounds& rounds, size_t round) {
  layers::Trace trace;
  trace.wanted = {"image"};
  layers::Context context;
  context.trace = &trace;
  const Variable logits = network.forward(inputs, context);
  rounds.backward(round, logits);
  // Of two images per sample the first.
  return trace.cuts.at("image")
      .gradient()
      .slice(0, 0, inputs.images.size(0))
      .to(core::Device{})
      .to(core::DType::f32)
      .to_contiguous();
}

}  // namespace

std::vector<std::vector<Tensor>> integrated_gradients(Network& network, const Batch& inputs,
                                                      const std::vector<int64_t>& labels,
                                                      const std::vector<std::vector<bool>>& wanted) {
  const Tensor images = inputs.images.to_contiguous();
  const int64_t batch = images.size(0), height = images.size(1), width = images.size(2),
                channels = images.size(3), pixels = height * width;
  const Tensor difference = images.clone(),
               blurred = gaussian_blur(images, kBlur * static_cast<double>(width));
  for (int64_t i = 0; i < images.numel(); ++i) difference.data<float>()[i] -= blurred.data<float>()[i];
  const LabelRounds rounds(batch, labels, wanted);
  std::vector<std::vector<Tensor>> maps(static_cast<size_t>(batch), std::vector<Tensor>(labels.size()));
  const float *image = images.data<float>(), *change = difference.data<float>();
  for (int step = 0; step < kPathSteps; ++step) {
    const float left = 1.0F - (static_cast<float>(step) + 0.5F) / kPathSteps;  // of the way to the image
    Batch between = inputs;
    between.images = Tensor::empty(images.shape());
    for (int64_t i = 0; i < images.numel(); ++i) {
      between.images.data<float>()[i] = image[i] - left * change[i];
    }
    for (size_t round = 0; round < rounds.count(); ++round) {
      const Tensor gradient = image_gradient(network, between, rounds, round);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t place = rounds.place(round, b);
        if (place < 0) continue;
        Tensor& map = maps[static_cast<size_t>(b)][static_cast<size_t>(place)];
        if (!map.defined()) map = Tensor::zeros({height, width});
        for (int64_t i = 0; i < pixels * channels; ++i) {
          const int64_t at = b * pixels * channels + i;
          map.data<float>()[i / channels] += gradient.data<float>()[at] * change[at] / kPathSteps;
        }
      }
    }
  }
  return maps;
}

}  // namespace medfusion::tools
