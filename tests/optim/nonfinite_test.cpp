// Steps whose loss or gradient is NaN or infinite: they change nothing, and a trace finds where that began.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_type.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/reduction.h"
#include "layers/functional/view.h"
#include "optim/loop.h"
#include "optim/state.h"
#include "optim/step.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kHuge = 3e38F;
constexpr int64_t kSamples = 3;

core::Batch healthy(uint64_t number) {
  const core::Philox philox(9, number);
  uint64_t draw = 0;
  core::Batch batch;
  batch.images = Tensor::empty({kSamples, 16, 16, 1});
  batch.table.values = Tensor::empty({kSamples, 2});
  for (const Tensor& tensor : {batch.images, batch.table.values}) {
    for (int64_t i = 0; i < tensor.numel(); ++i)
      tensor.data<float>()[i] = static_cast<float>(philox.normal(draw++));
  }
  batch.image_present = Tensor::full({kSamples}, 1.0, DType::boolean);
  batch.image_present.data<bool>()[0] = number % 2 == 0;  // the gate hides branches by -inf
  batch.targets = Tensor::zeros({kSamples, 2});
  batch.targets.data<float>()[number % 6] = 1.0F;
  batch.targets.data<float>()[(number + 1) % 6] = kNaN;  // unknown
  for (int64_t i = 0; i < kSamples; ++i) batch.rows.push_back(10 + i);
  return batch;
}

std::unique_ptr<models::Network> fresh_network(core::Device device) {
  models::NetworkOptions options;
  options.size = "tiny";
  options.labels = 2;
  options.table_features = 2;
  options.dropout = 0.1;
  options.device = device;
  auto network = models::make_network(options);
  network->initialize(11);
  return network;
}

// A device of the tests' parameter, or why there is none.
struct Place {
  const char* name;
  core::DeviceType type;
  bool graph;
  Precision precision = Precision::f32;
};

bool is_there(const Place& place) {
  try {
    core::runtime({place.type, 0});
    return true;
  } catch (const core::Error&) {
    return false;
  }
}

class NonfiniteOn : public testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (!is_there(GetParam())) GTEST_SKIP() << "no such device here";
  }
  core::Device device() const { return {GetParam().type, 0}; }
};
INSTANTIATE_TEST_SUITE_P(Devices, NonfiniteOn,
                         testing::Values(Place{"cpu", core::DeviceType::cpu, false},
                                         Place{"sim", simulator::kDeviceType, false},
                                         Place{"sim_graph", simulator::kDeviceType, true},
                                         Place{"sim_bf16", simulator::kDeviceType, true, Precision::bf16},
                                         Place{"cuda_graph", kernels::cuda::kDeviceType, true}),
                         [](const auto& test) { return std::string(test.param.name); });

// Step numbers, of which those in `bad` get a NaN in their images.
struct Course {
  std::vector<int64_t> steps;
  std::set<int64_t> bad;
  bool traced = false;
};

std::map<std::string, Tensor> state_after(const Place& place, bool adamw, double clip_norm,
                                          const Course& course) {
  const core::Device device{place.type, 0};
  const auto network = fresh_network(device);
  std::unique_ptr<Optimizer> optimizer;
  if (adamw) {
    optimizer = std::make_unique<AdamW>(network->parameters());
  } else {
    optimizer = std::make_unique<SGD>(network->parameters());
  }
  WeightAverage average(*network, 0.9);
  TrainingStep step(*network, *optimizer, &average,
                    {.loss = {},
                     .clip_norm = clip_norm,
                     .seed = 5,
                     .precision = place.precision,
                     .graph = place.graph,
                     .keep_statistics = true});
  const auto stage = [&](int64_t number) {
    const core::Batch batch = healthy(static_cast<uint64_t>(number));
    if (course.bad.contains(number)) batch.images.data<float>()[16 * 16 + 7] = kNaN;
    step.stage(batch, number);
  };
  stage(course.steps.front());
  for (size_t i = 0; i < course.steps.size(); ++i) {
    step.start(1e-3 * static_cast<double>(course.steps[i] + 1));
    if (i + 1 < course.steps.size()) stage(course.steps[i + 1]);
    EXPECT_EQ(step.finish().finite(), !course.bad.contains(course.steps[i])) << "step " << course.steps[i];
    if (course.traced && course.bad.contains(course.steps[i])) {
      EXPECT_NE(step.trace({}), "");
    }
  }
  EXPECT_EQ(step.replays() > 0, place.graph);
  std::map<std::string, Tensor> result;
  for (const auto& [name, variable] : network->parameters()) result[name] = variable.value();
  for (const auto& [name, buffer] : network->buffers()) result[name] = buffer;
  for (const auto& [name, tensor] : optimizer->state_tensors()) result["optimizer." + name] = tensor;
  for (const auto& [name, tensor] : average.tensors()) result["average." + name] = tensor;
  for (auto& [name, tensor] : result) tensor = tensor.to(core::Device{}).clone();
  return result;
}

void expect_same_state(const std::map<std::string, Tensor>& expected,
                       const std::map<std::string, Tensor>& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (const auto& [name, tensor] : expected) {
    const Tensor& other = actual.at(name);
    EXPECT_EQ(std::memcmp(tensor.view().data, other.view().data, static_cast<size_t>(tensor.bytes())), 0)
        << name;
  }
}

// The second step is the first that a graph replays.
TEST_P(NonfiniteOn, ASkippedStepLeavesNoTrace) {
  expect_same_state(state_after(GetParam(), true, 0.5, {{0, 2, 3}, {}}),
                    state_after(GetParam(), true, 0.5, {{0, 1, 2, 3}, {1}}));
}

TEST_P(NonfiniteOn, NorDoesOneThatIsTraced) {
  expect_same_state(state_after(GetParam(), false, 0.0, {{0, 2, 3}, {}}),
                    state_after(GetParam(), false, 0.0, {{0, 1, 2, 3}, {1}, true}));
}

TEST_P(NonfiniteOn, TheFirstStepMayBeSkippedToo) {
  const Place plain{"", GetParam().type, false, GetParam().precision};
  expect_same_state(state_after(plain, true, 1.0, {{2, 3}, {}}),
                    state_after(plain, true, 1.0, {{1, 2, 3}, {1}}));
}

// What a trace says of a batch after one step of a network.
std::string trace_of(const Place& place, models::Network& network, const core::Batch& batch) {
  AdamW optimizer(network.parameters());
  TrainingStep step(
      network, optimizer, nullptr,
      {.loss = {}, .precision = place.precision, .graph = place.graph, .keep_statistics = true});
  step.stage(batch, 0);
  step.start(1e-3);
  EXPECT_FALSE(step.finish().finite());
  return step.trace([](int64_t row) { return fmt::format("patient{}", row); });
}

TEST_P(NonfiniteOn, ATraceFindsWhatTheBatchHolds) {
  const auto network = fresh_network(device());
  const core::Batch images = healthy(0);
  images.images.data<float>()[16 * 16 + 7] = kNaN;
  EXPECT_EQ(trace_of(GetParam(), *network, images),
            "the images of the batch: 1 NaN of 768 values of [3, 16, 16, 1], in 1 of the 3 rows: patient11");
  const core::Batch table = healthy(0);
  table.table.values.data<float>()[0] = std::numeric_limits<float>::infinity();
  table.table.values.data<float>()[5] = kNaN;
  EXPECT_THAT(trace_of(GetParam(), *network, table),
              AllOf(StartsWith("the table of the batch: 1 NaN and 1 infinite of 6 values of "),
                    HasSubstr(", in 2 of the 3 rows: patient10, patient12")));
}

TEST_P(NonfiniteOn, ATraceFindsAParameterThatWasBroken) {
  const auto network = fresh_network(device());
  for (const auto& [name, parameter] : network->parameters()) {
    if (name == "features.norm0.weight") parameter.value().slice(0, 1, 2).fill(kNaN);
  }
  EXPECT_THAT(trace_of(GetParam(), *network, healthy(0)),
              StartsWith("the parameter features.norm0.weight, before the step: 1 NaN of "));
}

// The masks of the gate hold -inf, which is as it should be.
TEST_P(NonfiniteOn, ATraceFindsTheRowThatOverflows) {
  const auto network = fresh_network(device());
  const core::Batch batch = healthy(1);
  batch.images.slice(0, 2, 3).fill(kHuge);
  const char* const device_kernel =
      GetParam().type == core::DeviceType::cpu ? "(kernel convolution forward " : "kernel ";
  EXPECT_THAT(trace_of(GetParam(), *network, batch),
              AllOf(StartsWith("convolution forward ("), HasSubstr(device_kernel),
                    HasSubstr(", in or after features.conv0): "), HasSubstr(" infinite of "),
                    HasSubstr(", in 1 of the 3 rows: patient12; all its inputs were finite")));
}

// The kernels of an operation are its own, though a simulated device runs those before it late.
TEST_P(NonfiniteOn, ATraceNamesTheKernelsOfTheOperation) {
  const auto network = fresh_network(device());
  for (const auto& [name, parameter] : network->parameters()) {
    if (name == "features.norm0.weight") parameter.value().fill(kHuge);
  }
  EXPECT_THAT(trace_of(GetParam(), *network, healthy(1)),
              AllOf(StartsWith("batch_norm forward (kernel batch_norm forward "),
                    HasSubstr(", in or after features.norm0): ")));
}

// An operation with many parameters is named by what they share.
TEST_P(NonfiniteOn, ATraceFindsTheBlockThatOverflows) {
  const auto network = fresh_network(device());
  for (const auto& [name, parameter] : network->parameters()) {
    if (name == "features.denseblock1.denselayer1.conv1.weight") parameter.value().fill(kHuge);
  }
  EXPECT_THAT(trace_of(GetParam(), *network, healthy(1)),
              AllOf(HasSubstr(", in or after features.denseblock1"), HasSubstr("in 3 of the 3 rows"),
                    HasSubstr("all its inputs were finite")));
}

TEST_P(NonfiniteOn, ATraceFindsTheLayerWhoseWeightsAreTooLarge) {
  const auto network = fresh_network(device());
  for (const auto& [name, parameter] : network->parameters()) {
    if (name == "attention_head.weight") parameter.value().fill(kHuge);
  }
  EXPECT_THAT(trace_of(GetParam(), *network, healthy(1)),
              AllOf(HasSubstr(" forward ("), HasSubstr(", in or after attention_head): "),
                    HasSubstr("all its inputs were finite")));
}

// logits = (sum of the image's pixels) * first * second, or what a test makes of it.
class Factors final : public models::Network {
 public:
  enum class Kind { product, quotient, once };
  Factors(Kind kind, core::Device device) : kind_(kind), device_(device) {
    const layers::TensorOptions made(DType::f32, device);
    first_ = add_parameter("head.first", {1, 2}, layers::Init::constant(0.0), made);
    second_ = add_parameter("head.second", {1, 2}, layers::Init::constant(1e20), made);
    initialize(1);
  }
  models::Prepared prepare(const core::Batch& batch, layers::Context&) const override {
    models::Prepared result;
    result.images = batch.images;
    return result;
  }
  models::ImageLevels image_levels(const models::Prepared&, layers::Context&) override { return {}; }
  Variable forward_from(const models::ImageLevels&, const models::Prepared& batch,
                        layers::Context&) override {
    const Variable flat = layers::reshape(Variable(batch.images), {batch.images.size(0), -1});
    const Variable x = layers::sum(flat, {1}, true);
    if (kind_ == Kind::quotient) return layers::div(x, first_);
    const Variable logits = x * first_ * second_;
    return kind_ == Kind::once && calls_++ == 0 ? layers::add_scalar(logits, kNaN) : logits;
  }
  core::Device device() const override { return device_; }
  void set_prior(const Tensor&) override {}

 private:
  Kind kind_;
  core::Device device_;
  Variable first_, second_;
  int calls_ = 0;
};

core::Batch large_pixels(float pixel) {
  core::Batch batch = healthy(0);
  batch.images.fill(pixel);
  return batch;
}

TEST_P(NonfiniteOn, AGradientIsCaughtWhereTheLossIsFinite) {
  Factors network(Factors::Kind::product, device());
  const auto before = network.parameters().front().second.value().to(core::Device{}).clone();
  AdamW optimizer(network.parameters());
  TrainingStep step(
      network, optimizer, nullptr,
      {.loss = {}, .clip_norm = 0.0, .precision = GetParam().precision, .graph = GetParam().graph});
  step.stage(large_pixels(1e18F), 0);
  step.start(1e-3);
  const StepResult result = step.finish();
  EXPECT_TRUE(std::isfinite(result.loss));
  EXPECT_FALSE(std::isfinite(result.gradient_norm));
  EXPECT_FALSE(result.finite());
  EXPECT_EQ(optimizer.steps_taken(), 0);
  EXPECT_EQ(network.parameters().front().second.value().to(core::Device{}).at(0), before.at(0));
  EXPECT_THAT(step.trace({}),
              AllOf(StartsWith("mul backward ("), HasSubstr(", in or after head)"),
                    HasSubstr("the gradient of parameter head.first: "), HasSubstr(" of 2 values of [1, 2]"),
                    HasSubstr("; the loss, all values of the forward pass")));
}

TEST_P(NonfiniteOn, ATraceFindsADivisionByZero) {
  Factors network(Factors::Kind::quotient, device());
  EXPECT_THAT(trace_of(GetParam(), network, large_pixels(1.0F)),
              AllOf(StartsWith("div forward (kernel elementwise "), HasSubstr("6 infinite of 6 values"),
                    HasSubstr("in 3 of the 3 rows: patient10, patient11, patient12; all its inputs")));
}

TEST(Nonfinite, ATraceThatFindsNothingSaysSo) {
  Factors network(Factors::Kind::once, {});
  EXPECT_EQ(trace_of({"cpu", core::DeviceType::cpu, false}, network, large_pixels(1e-3F)),
            "the same step run again is finite: the cause cannot be found in this way");
}

TEST(Nonfinite, ATraceBelongsToAStepThatFailed) {
  const auto network = fresh_network({});
  AdamW optimizer(network->parameters());
  TrainingStep step(*network, optimizer, nullptr, {.loss = {}});
  EXPECT_THROW(step.trace({}), core::Error);
  step.stage(healthy(0), 0);
  step.start(1e-3);
  EXPECT_TRUE(step.finish().finite());
  EXPECT_THROW(step.trace({}), core::Error);
}

TEST_P(NonfiniteOn, ACheckpointHoldsFiniteNumbers) {
  NamedTensors tensors{{"a", Tensor::full({5}, kHuge, DType::f32, device())},
                       {"b", Tensor::zeros({2, 2}, DType::f32, device())},
                       {"c", Tensor::full({1}, 1e300, DType::f64)},
                       {"step", Tensor::from<int64_t>({1}, {3})}};
  EXPECT_NO_THROW(check_finite(tensors, "here"));
  for (const char* name : {"b", "c"}) {
    NamedTensors broken = tensors;
    broken[name] = tensors[name].clone();
    broken[name].fill(-std::numeric_limits<double>::infinity());
    try {
      check_finite(broken, "here");
      FAIL() << name;
    } catch (const core::Error& error) {
      EXPECT_EQ(std::string(error.what()), fmt::format("here: {} holds -inf, so it is not written", name));
    }
  }
}

// Training by a table of six rows, two per batch, with these values in its only column.
struct TableRun {
  std::vector<nlohmann::ordered_json> lines;
  std::vector<std::string> notes;
  int64_t checkpoints = 0;
  std::string error;
};

TableRun train_table(const std::vector<float>& column, const TrainOptions& options) {
  const auto rows = static_cast<int64_t>(column.size());
  data::Dataset dataset;
  dataset.labels = {"a"};
  dataset.targets = Tensor::zeros({rows, 1});
  for (int64_t i = 0; i < rows; ++i) {
    dataset.ids.push_back(fmt::format("id{}", i));
    dataset.targets.data<float>()[i] = static_cast<float>(i % 2);
  }
  dataset.patients = dataset.ids;
  core::Batch encoded;
  encoded.table.values = Tensor::from({rows, 1}, column);
  encoded.table.missing = Tensor::zeros({rows, 1}, DType::boolean);
  data::LoaderOptions loading;
  loading.use_images = false;
  loading.batch_size = 2;
  std::vector<int64_t> all(column.size());
  std::iota(all.begin(), all.end(), 0);
  data::Loader loader(dataset, all, encoded, loading);
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.modalities.image = network_options.branches.dense = network_options.branches.pyramid =
      false;
  network_options.table_features = 1;
  const auto network = models::make_network(network_options);
  network->initialize(3);
  TableRun run;
  TrainCallbacks callbacks;
  callbacks.on_epoch = [&](const nlohmann::ordered_json& line) { run.lines.push_back(line); };
  callbacks.on_note = [&](const std::string& note) { run.notes.push_back(note); };
  callbacks.row_name = [&](int64_t row) { return dataset.ids[static_cast<size_t>(row)]; };
  callbacks.on_checkpoint = [&](const NamedTensors& tensors, bool, int64_t) {
    ++run.checkpoints;
    check_finite(tensors, "checkpoint");
  };
  try {
    train(*network, loader, dataset.targets, nullptr, dataset.labels, options, callbacks);
  } catch (const core::Error& error) {
    run.error = error.what();
  }
  return run;
}

const std::vector<float> kOneBadRow{0.5F, -1.0F, 2.0F, kNaN, 0.1F, 0.2F};

TEST(NonfiniteTraining, SkipGoesOnAndCounts) {
  TrainOptions options;
  options.epochs = 2;
  options.nonfinite = Nonfinite::skip;
  options.nonfinite_limit = 1;  // in a row: one of each epoch is skipped
  options.ema_decay = 0.9;
  const TableRun run = train_table(kOneBadRow, options);
  EXPECT_EQ(run.error, "");
  EXPECT_EQ(run.checkpoints, 2);
  ASSERT_EQ(run.lines.size(), 2U);
  for (const auto& line : run.lines) {
    EXPECT_EQ(line.at("skipped_steps"), 1);
    EXPECT_TRUE(std::isfinite(line.at("train_loss").get<double>()));
    EXPECT_TRUE(std::isfinite(line.at("gradient_norm").get<double>()));
  }
  EXPECT_THAT(run.notes, ElementsAre("skipped a step: loss nan, gradient norm nan in epoch 1, batch 2",
                                     "skipped a step: loss nan, gradient norm nan in epoch 2, batch 2"));
  const TableRun healthy_run = train_table({0.5F, -1.0F, 2.0F, 1.0F, 0.1F, 0.2F}, options);
  EXPECT_EQ(healthy_run.error, "");
  EXPECT_FALSE(healthy_run.lines.front().contains("skipped_steps"));
}

TEST(NonfiniteTraining, StopEndsBeforeAnythingIsWritten) {
  TrainOptions options;
  options.epochs = 2;
  options.trace_nonfinite = true;
  const TableRun run = train_table(kOneBadRow, options);
  EXPECT_THAT(run.error, StartsWith("training diverged: loss nan, gradient norm nan in epoch 1, batch 2"));
  EXPECT_EQ(run.checkpoints, 0);
  EXPECT_THAT(run.lines, IsEmpty());
  EXPECT_THAT(run.notes,
              ElementsAre(AllOf(StartsWith("trace of epoch 1, batch 2: the table of the batch: 1 NaN"),
                                HasSubstr("in 1 of the 2 rows: id3"))));
}

TEST(NonfiniteTraining, TooManySkippedStepsInARowAreAnError) {
  TrainOptions options;
  options.epochs = 2;
  options.nonfinite = Nonfinite::skip;
  options.nonfinite_limit = 2;
  const TableRun run = train_table({0.5F, 1.0F, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, 0.1F, 0.2F}, options);
  EXPECT_THAT(
      run.error,
      StartsWith("training diverged: loss nan, gradient norm nan in epoch 1, batch 4, after 2 skipped"));
  EXPECT_EQ(run.notes.size(), 2U);
  options.nonfinite_limit = 10;
  EXPECT_EQ(train_table({kNaN, kNaN}, options).error,
            "training diverged: no step of epoch 1 had a finite loss and gradient");
}

// The step itself is finite, and its weights are not.
TEST(NonfiniteTraining, WeightsThatOverflowAreNotWritten) {
  TrainOptions options;
  options.epochs = 1;
  options.warmup_epochs = 0;
  options.optimizer = OptimizerKind::sgd;
  options.learning_rate = 1e39;
  options.schedule = ScheduleKind::constant;
  const TableRun run = train_table({0.5F, 1.0F}, options);
  EXPECT_THAT(run.error, AllOf(StartsWith("training diverged: "), HasSubstr(", so it is not written")));
  EXPECT_EQ(run.checkpoints, 0);
}

}  // namespace
}  // namespace medfusion::optim
