#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/threads.h"
#include "tests/layers/fixture.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;
using layers::expect_close;
using layers::Fixture;
using layers::FixtureCase;
using layers::random_tensor;

Variable leaf(const Tensor& value, const Tensor& gradient) {
  Variable variable(value.clone(), true);
  variable.gradient().copy_from(gradient);
  return variable;
}

// f64 may differ by the rounding of the stored values, f32 by a few roundings of its own.
double tolerance_of(DType dtype) { return dtype == DType::f64 ? 3e-7 : 2e-6; }

// Three steps of `optimizer` on the parameter of a fixture, compared after each.
void expect_steps(FixtureCase& c, Optimizer& optimizer, const Variable& parameter, double learning_rate,
                  DType dtype) {
  for (const char* step : {"1", "2", "3"}) {
    parameter.gradient().copy_from(c.get(std::string("grad") + step));
    optimizer.step(learning_rate);
    expect_close(parameter.value(), c.get(std::string("parameter") + step), tolerance_of(dtype),
                 std::string("parameter") + step + " in " + core::name_of(dtype));
  }
}

TEST(AdamW, AgreesWithPyTorch) {
  const Fixture fixture("ops_optimizers");
  for (const std::string& name : fixture.cases("adamw")) {
    SCOPED_TRACE(name);
    for (const DType dtype : {DType::f64, DType::f32}) {
      FixtureCase c(fixture, "adamw", name);
      const Variable parameter(c.get("parameter").to(dtype).clone(), true);
      AdamW optimizer({{"w", parameter}}, {.beta1 = c.scalar("beta1"),
                                           .beta2 = c.scalar("beta2"),
                                           .eps = c.scalar("eps"),
                                           .weight_decay = c.scalar("weight_decay")});
      expect_steps(c, optimizer, parameter, c.scalar("learning_rate"), dtype);
      const auto state = optimizer.state_tensors();
      expect_close(state.at("w.m"), c.get("first_moment"), tolerance_of(dtype), "first moment");
      expect_close(state.at("w.v"), c.get("second_moment"), tolerance_of(dtype), "second moment");
      EXPECT_EQ(state.at("step").item(), 3.0);
      EXPECT_EQ(state.size(), 3U);
    }
  }
}

TEST(SGD, AgreesWithPyTorch) {
  const Fixture fixture("ops_optimizers");
  for (const std::string& name : fixture.cases("sgd")) {
    SCOPED_TRACE(name);
    for (const DType dtype : {DType::f64, DType::f32}) {
      FixtureCase c(fixture, "sgd", name);
      const Variable parameter(c.get("parameter").to(dtype).clone(), true);
      SGD optimizer({{"w", parameter}}, {.momentum = c.scalar("momentum"),
                                         .nesterov = c.scalar("nesterov") != 0.0,
                                         .weight_decay = c.scalar("weight_decay")});
      expect_steps(c, optimizer, parameter, c.scalar("learning_rate"), dtype);
      const auto state = optimizer.state_tensors();
      ASSERT_EQ(state.contains("w.velocity"), c.has("velocity"));
      if (c.has("velocity"))
        expect_close(state.at("w.velocity"), c.get("velocity"), tolerance_of(dtype), "velocity");
    }
  }
}

// The factor is applied by the step: one plain descent step of rate 1 from 0 shows the clipped gradient.
TEST(GradientNorm, ClippingAgreesWithPyTorch) {
  const Fixture fixture("ops_optimizers");
  for (const std::string& name : fixture.cases("clip_gradients")) {
    SCOPED_TRACE(name);
    for (const DType dtype : {DType::f64, DType::f32}) {
      FixtureCase c(fixture, "clip_gradients", name);
      Parameters parameters;
      for (const char* i : {"0", "1", "2"}) {
        const Tensor gradient = c.get(std::string("grad") + i, dtype);
        parameters.emplace_back(i, leaf(Tensor::zeros(gradient.shape(), dtype), gradient));
      }
      const double norm = gradient_norm(parameters);
      EXPECT_NEAR(norm, c.scalar("norm"), 1e-7 * norm);
      SGD(parameters, {.momentum = 0.0}).step(-1.0, clip_factor(norm, c.scalar("max_norm")));
      for (const auto& [i, variable] : parameters) {
        expect_close(variable.value(), c.get("clipped" + i), tolerance_of(dtype), "clipped" + i);
      }
    }
  }
}

TEST(GradientNorm, ShowsWhatIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor zero = Tensor::zeros({2});
  EXPECT_EQ(gradient_norm({}), 0.0);
  EXPECT_EQ(gradient_norm({{"a", leaf(zero, Tensor::full({2}, infinity))}}), infinity);
  EXPECT_TRUE(std::isnan(gradient_norm({{"a", leaf(zero, Tensor::full({2}, std::nan("")))}})));
  EXPECT_EQ(clip_factor(infinity, 1.0), 0.0);
  EXPECT_TRUE(std::isnan(clip_factor(std::nan(""), 1.0)));
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(1e-6, 1e-6), 0.5);
  EXPECT_THROW(clip_factor(1.0, 0.0), core::Error);
}

// With a gradient of 0 only the decay moves a parameter.
TEST(WeightDecay, SparesOneDimensionUnlessTold) {
  for (const bool spare : {true, false}) {
    const Parameters parameters{{"matrix", leaf(Tensor::full({2, 2}, 1.0), Tensor::zeros({2, 2}))},
                                {"vector", leaf(Tensor::full({2}, 1.0), Tensor::zeros({2}))}};
    AdamW(parameters, {.weight_decay = 0.25, .decay_matrices_only = spare}).step(0.5);
    EXPECT_EQ(parameters[0].second.value().at(0), 0.875);
    EXPECT_EQ(parameters[1].second.value().at(0), spare ? 1.0 : 0.875);
    SGD(parameters, {.weight_decay = 0.25, .decay_matrices_only = spare}).step(0.5);
    EXPECT_EQ(parameters[0].second.value().at(0), 0.765625);
    EXPECT_EQ(parameters[1].second.value().at(0), spare ? 1.0 : 0.765625);
  }
}

TEST(Optimizer, ZeroGradClearsEveryBuffer) {
  const Parameters parameters{{"a", leaf(random_tensor({3, 2}, 1), random_tensor({3, 2}, 2))},
                              {"b", leaf(random_tensor({5}, 3), random_tensor({5}, 4))}};
  EXPECT_GT(gradient_norm(parameters), 0.0);
  const SGD optimizer(parameters);
  const void* buffer = parameters[0].second.gradient().view().data;
  optimizer.zero_grad();
  EXPECT_EQ(gradient_norm(parameters), 0.0);
  EXPECT_EQ(parameters[0].second.gradient().view().data, buffer);
}

Parameters two_parameters() {
  return {{"a", leaf(random_tensor({3, 2}, 1).to(DType::f32), random_tensor({3, 2}, 2))},
          {"b", leaf(random_tensor({5}, 3).to(DType::f32), random_tensor({5}, 4))}};
}

template <class T>
void expect_resumes() {
  const Parameters continued = two_parameters();
  T first(continued);
  first.step(0.1);
  first.step(0.1);

  // Copies, as from a file.
  std::map<std::string, Tensor> saved;
  for (const auto& [name, tensor] : first.state_tensors()) saved[name] = tensor.clone();
  const Parameters resumed = two_parameters();
  for (size_t i = 0; i < resumed.size(); ++i)
    resumed[i].second.value().copy_from(continued[i].second.value());
  T second(resumed);
  second.load_state(saved);
  EXPECT_EQ(second.steps_taken(), 2);

  first.step(0.1);
  second.step(0.1);
  for (size_t i = 0; i < resumed.size(); ++i) {
    expect_close(resumed[i].second.value(), continued[i].second.value(), 0.0, resumed[i].first);
  }
}

TEST(Optimizer, ResumesFromItsState) {
  expect_resumes<AdamW>();
  expect_resumes<SGD>();
}

TEST(Optimizer, RefusesTheStateOfAnother) {
  AdamW optimizer(two_parameters());
  optimizer.step(0.1);
  const auto message_of = [&](std::map<std::string, Tensor> state) -> std::string {
    try {
      optimizer.load_state(state, "last.safetensors");
    } catch (const core::InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto own = optimizer.state_tensors();
  std::map<std::string, Tensor> good;
  for (const auto& [name, tensor] : own) good[name] = tensor.clone();
  good["a.m"].fill(7.0);
  auto lacking = good;
  lacking.erase("b.v");
  EXPECT_EQ(message_of(lacking), "last.safetensors: optimizer state: expected a tensor b.v, got none");
  auto reshaped = good;
  reshaped["b.v"] = Tensor::zeros({6});
  EXPECT_EQ(message_of(reshaped), "last.safetensors: optimizer state: b.v: expected f32 [5], got f32 [6]");
  auto surplus = good;
  surplus["c.m"] = Tensor::zeros({6});
  EXPECT_EQ(message_of(surplus), "last.safetensors: optimizer state: the model has no c.m");
  auto negative = good;
  negative["step"] = Tensor::from<int64_t>({1}, {-1});
  EXPECT_EQ(message_of(negative), "last.safetensors: optimizer state: expected a step >= 0, got -1");
  EXPECT_NE(own.at("a.m").at(0), 7.0) << "a refused state was taken in part";
  EXPECT_EQ(optimizer.steps_taken(), 1);
  EXPECT_EQ(message_of(good), "accepted");
  EXPECT_EQ(own.at("a.m").at(0), 7.0);
}

TEST(Optimizer, RefusesWhatItCannotTrain) {
  const Variable w = leaf(Tensor::zeros({2}), Tensor::zeros({2}));
  EXPECT_THROW(SGD({{"w", Variable(Tensor::zeros({2}))}}), core::Error);
  EXPECT_THROW(SGD({{"w", w}, {"w", leaf(Tensor::zeros({2}), Tensor::zeros({2}))}}), core::Error);
  EXPECT_THROW(SGD({{"w", w}, {"tied", w}}), core::Error);
  EXPECT_THROW(SGD({{"w", w}}, {.momentum = 0.0, .nesterov = true}), core::Error);
  EXPECT_THROW(SGD({{"w", w}}, {.momentum = 1.0}), core::Error);
  EXPECT_THROW(AdamW({{"w", w}}, {.beta2 = 1.0}), core::Error);
  EXPECT_THROW(AdamW({{"w", w}}, {.weight_decay = -0.1}), core::Error);
}

// Larger than one task of the kernels.
TEST(Optimizer, DoesNotDependOnTheThreads) {
  const int before = core::num_threads();
  std::vector<Tensor> results;
  for (const int threads : {1, 3}) {
    core::set_num_threads(threads);
    const Parameters parameters{
        {"w", leaf(random_tensor({300, 211}, 1).to(DType::f32), random_tensor({300, 211}, 2))}};
    AdamW adam(parameters);
    SGD sgd(parameters);
    for (int i = 0; i < 2; ++i) {
      const double factor = clip_factor(gradient_norm(parameters), 1.0);
      adam.step(0.01, factor);
      sgd.step(0.01, factor);
    }
    results.push_back(parameters[0].second.value());
  }
  core::set_num_threads(before);
  expect_close(results[1], results[0], 0.0, "3 threads against 1");
}

// A group's rate holds for its parameters alone, also where a step reads its scalars from the device.
TEST(Optimizer, AGroupHasARateOfItsOwn) {
  const Tensor value = random_tensor({3, 4}, 1), gradient = random_tensor({3, 4}, 2);
  const auto trained = [&](double group_rate, double learning_rate) {
    const Variable a = leaf(value, gradient), b = leaf(value, gradient);
    AdamW optimizer({{"features.a", a}, {"b", b}}, {.weight_decay = 0.1});
    const size_t group = optimizer.add_group({"features.a", "elsewhere"});
    EXPECT_EQ(group, 1U);
    EXPECT_EQ(optimizer.scalar_count(), 6);
    optimizer.set_group_rate(group, group_rate);
    for (int i = 0; i < 2; ++i) optimizer.step(learning_rate);
    return std::pair(a.value(), b.value());
  };
  const auto [slow, fast] = trained(0.25, 0.1);
  const auto [other, slow_alone] = trained(1.0, 0.025);
  expect_close(slow, slow_alone, 1e-15, "a quarter of the rate");
  expect_close(trained(0.0, 0.1).first, value, 0.0, "no rate");
  expect_close(trained(0.0, 0.1).second, fast, 0.0, "the others");
  EXPECT_GT(std::abs(fast.at(0) - slow.at(0)), 1e-4);
}

}  // namespace
}  // namespace medfusion::optim
