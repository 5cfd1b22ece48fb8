// Predictions on each device, batch by batch.
#include "optim/predict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;

constexpr int64_t kRows = 7, kFeatures = 3, kWords = 4, kLabels = 2;

std::unique_ptr<data::Loader> make_loader(int64_t batch_size) {
  data::Dataset dataset;
  dataset.labels = {"a", "b"};
  for (int64_t i = 0; i < kRows; ++i) dataset.ids.push_back(std::to_string(i));
  dataset.patients = dataset.ids;
  dataset.targets = Tensor::zeros({kRows, kLabels});
  core::Batch encoded;
  encoded.table.values = Tensor::empty({kRows, kFeatures});
  const core::Philox philox(3, 1);
  for (int64_t i = 0; i < encoded.table.values.numel(); ++i)
    encoded.table.values.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  encoded.table.missing = Tensor::zeros({kRows, kFeatures}, DType::boolean);
  encoded.table.missing.data<bool>()[4] = true;
  encoded.table.values.data<float>()[4] = 0.0F;
  encoded.text = Tensor::zeros({kRows, kWords}, DType::i64);
  for (int64_t i = 0; i < kRows; ++i) encoded.text.data<int64_t>()[i * kWords] = 1 + i % 5;
  std::vector<int64_t> rows(kRows);
  std::iota(rows.rbegin(), rows.rend(), 0);  // from the last to the first
  data::LoaderOptions options;
  options.use_images = false;
  options.batch_size = batch_size;
  return std::make_unique<data::Loader>(dataset, rows, encoded, options);
}

class PredictOn : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, PredictOn,
                         testing::Values(core::DeviceType::cpu, simulator::kDeviceType,
                                         kernels::cuda::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(PredictOn, GivesTheLogitsOfEveryRowInTheOrderOfTheLoader) {
  const core::Device device{GetParam(), 0};
  try {
    core::runtime(device);
  } catch (const core::Error& error) {
    GTEST_SKIP() << error.what();
  }
  models::NetworkOptions options;
  options.size = "tiny";
  options.modalities.image = options.branches.dense = options.branches.pyramid = false;
  options.labels = kLabels;
  options.table_features = kFeatures;
  options.vocabulary = 6;
  options.text_length = kWords;
  options.device = device;
  const auto network = models::make_network(options);
  network->initialize(11);

  const auto loader = make_loader(3);  // the last batch is ragged
  std::vector<int64_t> progress;
  const Predictions predictions =
      predict(*network, *loader, Output::sigmoid, [&](int64_t done) { progress.push_back(done); });
  EXPECT_THAT(progress, testing::ElementsAre(3, 6, 7));
  EXPECT_THAT(predictions.rows, testing::ElementsAre(6, 5, 4, 3, 2, 1, 0));

  const core::NoGradGuard no_gradients;
  const auto one_by_one = make_loader(3);
  one_by_one->begin_epoch(0);
  data::Batch batch;
  for (int64_t row = 0; one_by_one->next(batch); row += batch.size()) {
    layers::Context context;
    const Tensor logits = network->forward(batch, context).value().to(core::Device{});
    for (int64_t i = 0; i < logits.numel(); ++i)
      EXPECT_EQ(predictions.logits.at(row * kLabels + i), logits.at(i)) << "row " << row;
  }
  EXPECT_NE(predictions.logits.at(0), predictions.logits.at(kLabels));
}

TEST(LogOdds, AreThoseOfTheProbabilitiesAndKeepTheirOrder) {
  const Tensor logits = Tensor::from<float>({3, 3}, {20, -1, 0.5, 25, -1, 0.5, 30, -1, 0.5});
  for (const Output output : {Output::sigmoid, Output::softmax}) {
    const Tensor p = to_probabilities(logits, output), z = to_log_odds(logits, output);
    for (int64_t i = 0; i < p.numel(); ++i) EXPECT_NEAR(1.0 / (1.0 + std::exp(-z.at(i))), p.at(i), 1e-7);
    EXPECT_EQ(p.at(0), p.at(6));
    EXPECT_LT(z.at(0), z.at(3));
    EXPECT_LT(z.at(3), z.at(6));
  }
  EXPECT_NEAR(to_log_odds(logits, Output::softmax).at(2), 0.5 - 20.0 - std::log1p(std::exp(-21.0)), 1e-12);
}

}  // namespace
}  // namespace medfusion::optim
