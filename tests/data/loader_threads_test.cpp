// The loader's threads where something goes wrong: no hang, and the caller hears of it. A hang ends the test
// program by SIGALRM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "data/loader.h"
#include "tests/core/no_threads.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;

constexpr int64_t kSmallRows = 60;

// Slow images of one gray; from row `fails` on they cannot be read.
class SlowImages : public ImageSource {
 public:
  Tensor read(int64_t row) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + row % 3));
    if (row >= fails) throw 7;  // no std::exception, and from every thread at once
    return Tensor::from<uint8_t>({1, 1, 1}, {static_cast<uint8_t>(row)});
  }
  bool present(int64_t row) const override {
    if (row == absent_fails) throw std::runtime_error("who knows");
    return true;
  }
  int64_t fails = kSmallRows, absent_fails = kSmallRows;
};

class LoaderThreads : public testing::Test {
 protected:
  void SetUp() override { ::alarm(120); }
  void TearDown() override { ::alarm(0); }

  std::unique_ptr<Loader> loader(int workers) const {
    Dataset dataset;
    dataset.images = images_;
    dataset.targets = Tensor::zeros({kSmallRows, 1});
    for (int64_t row = 0; row < kSmallRows; ++row) dataset.ids.push_back(std::to_string(row));
    std::vector<int64_t> rows(kSmallRows);
    std::iota(rows.begin(), rows.end(), 0);
    LoaderOptions options;
    options.format = {4, 1, Normalization::fixed, {0.5F}, {0.25F}};
    options.batch_size = 6;
    options.workers = workers;
    options.prefetch = 5;
    return std::make_unique<Loader>(dataset, rows, Batch{}, options);
  }

  // The pixels of an epoch.
  static std::vector<float> pixels_of(Loader& loader) {
    loader.begin_epoch(0);
    std::vector<float> pixels;
    for (Batch batch; loader.next(batch);) {
      const float* const data = batch.images.data<float>();
      pixels.insert(pixels.end(), data, data + batch.images.numel());
    }
    return pixels;
  }

  std::shared_ptr<SlowImages> images_ = std::make_shared<SlowImages>();
};

TEST_F(LoaderThreads, EndWithWorkUnderWay) {
  for (int taken = 0; taken < 10; ++taken) {
    const auto busy = loader(8);
    busy->begin_epoch(0);
    Batch batch;
    for (int i = 0; i < taken; ++i) ASSERT_TRUE(busy->next(batch));
  }
}

TEST_F(LoaderThreads, EndAfterAFailureThatWasNotRead) {
  images_->fails = 4;
  for (int round = 0; round < 10; ++round) {
    const auto failing = loader(8);
    failing->begin_epoch(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(round));
  }
}

TEST_F(LoaderThreads, EveryFailureReachesTheCaller) {
  for (const int workers : {0, 1, 8}) {
    images_->fails = 9;
    const auto failing = loader(workers);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      failing->begin_epoch(epoch);
      Batch batch;
      ASSERT_TRUE(failing->next(batch));
      EXPECT_THROW(failing->next(batch), int);
      EXPECT_FALSE(failing->next(batch));
    }
    images_->absent_fails = 8;  // an earlier row of the same batch
    const auto other = loader(workers);
    other->begin_epoch(0);
    Batch batch;
    ASSERT_TRUE(other->next(batch));
    EXPECT_THROW(other->next(batch), std::runtime_error);
    images_->absent_fails = kSmallRows;
  }
}

TEST_F(LoaderThreads, WhereNoneCanBeStartedTheCallerReads) {
  const auto served = loader(4);
  const std::vector<float> expected = pixels_of(*served);
  const NoThreads none;
  const auto alone = loader(4);
  EXPECT_EQ(pixels_of(*alone), expected);
  EXPECT_EQ(expected.size(), static_cast<size_t>(kSmallRows * 16));
}

}  // namespace
}  // namespace medfusion::data
