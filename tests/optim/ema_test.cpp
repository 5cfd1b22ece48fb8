#include "optim/ema.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/layers/fixture.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;
using layers::expect_close;

struct Model : layers::Module {
  Model() {
    weight = add_parameter("weight", {2, 3}, layers::Init::constant(1.0));
    exact = add_parameter("exact", {2}, layers::Init::constant(1.0), DType::f64);
    running_mean = add_buffer("running_mean", {3}, 1.0);
    count = add_buffer("count", {1}, 1.0, DType::i64);
    initialize(1);
  }
  void set(double value) const {
    for (const auto& [name, parameter] : parameters()) parameter.value().fill(value);
    for (const auto& [name, buffer] : buffers()) buffer.fill(value);
  }
  core::Variable weight, exact;
  Tensor running_mean, count;
};

TEST(WeightAverage, FollowsTheWeightsAndRunningStatistics) {
  const Model model;
  WeightAverage average(model, 0.15);
  double expected = 1.0;
  // Decays 1/10, then min(0.15, 2/11), min(0.15, 3/12).
  for (const auto& [value, decay] : {std::pair{3.0, 0.1}, {5.0, 0.15}, {-2.0, 0.15}}) {
    model.set(value);
    average.update();
    expected = decay * expected + (1.0 - decay) * value;
    const auto tensors = average.tensors();
    EXPECT_NEAR(tensors.at("weight").at(5), expected, 1e-6);
    EXPECT_NEAR(tensors.at("exact").at(1), expected, 1e-12);
    EXPECT_NEAR(tensors.at("running_mean").at(2), expected, 1e-6);
    EXPECT_EQ(tensors.at("count").at(0), value) << "integers are copied";
  }
  EXPECT_EQ(average.tensors().at("updates").item(), 3.0);
  EXPECT_EQ(model.weight.value().at(0), -2.0) << "the model itself does not change";
}

TEST(WeightAverage, SwapsInPlaceAndBack) {
  const Model model;
  WeightAverage average(model, 0.999);
  model.set(3.0);
  average.update();
  const void* place = model.weight.value().view().data;
  average.swap();
  EXPECT_TRUE(average.swapped());
  EXPECT_NEAR(model.weight.value().at(0), 2.8, 1e-6);
  EXPECT_NEAR(model.running_mean.at(0), 2.8, 1e-6);
  EXPECT_EQ(model.weight.value().view().data, place);
  EXPECT_EQ(model.parameters()[0].second.value().view().data, place);
  EXPECT_THROW(average.update(), core::Error);
  EXPECT_THROW(average.tensors(), core::Error);
  average.swap();
  EXPECT_EQ(model.weight.value().at(0), 3.0);
  EXPECT_NEAR(average.tensors().at("weight").at(0), 2.8, 1e-6);
  average.update();
}

TEST(WeightAverage, ResumesFromItsTensors) {
  const Model model;
  WeightAverage first(model, 0.999);
  model.set(3.0);
  first.update();
  std::map<std::string, Tensor> saved;
  for (const auto& [name, tensor] : first.tensors()) saved[name] = tensor.clone();
  WeightAverage second(model, 0.999);
  second.load(saved, "last.safetensors");
  model.set(-1.0);
  first.update();
  second.update();
  const auto expected = first.tensors();
  for (const auto& [name, tensor] : second.tensors()) expect_close(tensor, expected.at(name), 0.0, name);

  saved.erase("weight");
  try {
    second.load(saved, "last.safetensors");
    FAIL() << "accepted";
  } catch (const core::InputError& error) {
    EXPECT_STREQ(error.what(), "last.safetensors: weight average state: expected a tensor weight, got none");
  }
  EXPECT_THROW(WeightAverage(model, 1.0), core::Error);
}

}  // namespace
}  // namespace medfusion::optim
