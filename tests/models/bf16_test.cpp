// Mixed precision of whole networks on the simulated device: images and what is made of them in bf16.
#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "kernels/simulator/device_type.h"
#include "layers/functional/loss.h"
#include "models/network.h"

namespace medfusion::models {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

constexpr core::Device kSim{simulator::kDeviceType, 0};
constexpr int64_t kBatch = 8;

Tensor normals(const core::Shape& shape, uint64_t stream) {
  Tensor result = Tensor::empty(shape);
  const core::Philox philox(3, stream);
  for (int64_t i = 0; i < result.numel(); ++i) {
    result.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  }
  return result;
}

Tensor rounded(const Tensor& t) { return t.to(DType::bf16).to(DType::f32); }

struct MixedStep {
  DType levels = DType::f32;     // what C2..C5 and P2..P5 are stored in
  std::vector<double> logits;    // of the batch
  std::vector<double> gradient;  // of all parameters
};

// One pass forward and backward. `once`: parameters and images are rounded to bf16 before, and all else is
// f32.
MixedStep step(const std::string& name, bool bf16, bool once = false) {
  NetworkOptions options;
  options.name = name;
  options.size = "tiny";
  options.labels = 3;
  options.dropout = options.modality_dropout = 0.0;
  options.device = kSim;
  const auto network = make_network(options);
  network->initialize(11);
  core::Batch inputs;
  inputs.images = normals({kBatch, 32, 32, 1}, 1);
  if (once) {
    inputs.images = rounded(inputs.images);
    for (const auto& [own, parameter] : network->parameters()) {
      parameter.value().copy_from(rounded(parameter.value().to(core::Device{})));
    }
  }
  layers::Context context{
      .training = true, .seed = 5, .precision = bf16 ? layers::Precision::bf16 : layers::Precision::f32};
  const Prepared batch = network->prepare(inputs, context).to(kSim);
  const ImageLevels levels = network->image_levels(batch, context);
  const Variable logits = network->forward_from(levels, batch, context);
  const Tensor targets = Tensor::from<float>(
      {kBatch, 3}, {1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1});
  layers::multilabel_loss(logits, targets.to(kSim), {}).backward();
  MixedStep result;
  result.levels = levels.backbone[3].dtype();
  for (const auto* list : {&levels.backbone, &levels.pyramid}) {
    for (const Variable& level : *list) EXPECT_TRUE(!level.defined() || level.dtype() == result.levels);
  }
  EXPECT_EQ(logits.dtype(), DType::f32);
  const auto append = [](std::vector<double>& to, const Tensor& tensor) {
    const Tensor host = tensor.to(core::Device{});
    for (int64_t i = 0; i < host.numel(); ++i) to.push_back(host.at(i));
  };
  append(result.logits, logits.value());
  for (const auto& [own, parameter] : network->parameters()) {
    EXPECT_EQ(parameter.dtype(), DType::f32) << own;
    EXPECT_EQ(parameter.gradient().dtype(), DType::f32) << own;
    append(result.gradient, parameter.gradient());
  }
  return result;
}

// |a - b| / |b|.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0.0, total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - b[i]) * (a[i] - b[i]);
    total += b[i] * b[i];
  }
  return std::sqrt(squares / total);
}

// Rounding weights and images once, and nothing else, moves logits and gradients by what the network makes of
// errors of 2^-9. Mixed precision rounds besides, after each convolution, its result, that of the norm, that
// of the pooling or sum, and the gradients of these three, and once more the gradients that a dense block
// adds up: up to seven further errors of that size. Independent errors add up by their squares.
void expect_near_f32(const std::string& name) {
  const MixedStep exact = step(name, false), once = step(name, false, true), mixed = step(name, true);
  EXPECT_EQ(exact.levels, DType::f32);
  EXPECT_EQ(mixed.levels, DType::bf16);
  for (const double g : mixed.gradient) ASSERT_TRUE(std::isfinite(g));
  const double allowed = std::sqrt(1.0 + 7.0);
  EXPECT_GT(distance(mixed.logits, exact.logits), 0.0);
  EXPECT_LE(distance(mixed.logits, exact.logits), allowed * distance(once.logits, exact.logits));
  EXPECT_LE(distance(mixed.gradient, exact.gradient), allowed * distance(once.gradient, exact.gradient));
}

TEST(Bf16, AStepOfMedFusionNetIsNearTheOneInF32) { expect_near_f32("medfusionnet"); }
TEST(Bf16, AStepOfDenseNetIsNearTheOneInF32) { expect_near_f32("densenet"); }

}  // namespace
}  // namespace medfusion::models
