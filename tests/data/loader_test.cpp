#include "data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "data/image_groups.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Row r is a 12x10 picture that no other row has. Rows 5, 15, ... have none; the row `broken` cannot be read.
class FakeImages : public ImageSource {
 public:
  Tensor read(int64_t row) const override {
    ++reads;
    if (delay) std::this_thread::sleep_for(std::chrono::microseconds(100 + (row * 37) % 700));
    if (!repaired && std::find(broken.begin(), broken.end(), row) != broken.end()) {
      core::throw_input_error({fmt::format("{}.png", row)}, "truncated PNG");
    }
    Tensor image = Tensor::empty({12, 10, 1}, DType::u8);
    for (int64_t i = 0; i < 120; ++i)
      image.data<uint8_t>()[i] = static_cast<uint8_t>(row * 7 + i * (row % 5 + 1));
    return image;
  }
  bool present(int64_t row) const override { return row % 10 != 5; }

  std::vector<int64_t> broken;
  std::atomic<bool> repaired = false;
  bool delay = false;
  mutable std::atomic<int64_t> reads = 0;
};

constexpr int64_t kRows = 43;

struct Fixture {
  std::shared_ptr<FakeImages> images = std::make_shared<FakeImages>();
  Dataset dataset;
  Batch encoded;
  std::vector<int64_t> rows;
  LoaderOptions options;

  Fixture() {
    dataset.name = "fake";
    dataset.images = images;
    dataset.targets = Tensor::empty({kRows, 2});
    encoded.table.values = Tensor::empty({kRows, 3});
    encoded.table.missing = Tensor::zeros({kRows, 3}, DType::boolean);
    encoded.text = Tensor::empty({kRows, 2}, DType::i64);
    for (int64_t row = 0; row < kRows; ++row) {
      dataset.ids.push_back(fmt::format("{}.png", row));
      dataset.targets.data<float>()[2 * row] = static_cast<float>(row % 2);
      dataset.targets.data<float>()[2 * row + 1] = row % 3 == 0 ? NAN : 1.0F;
      for (int64_t i = 0; i < 3; ++i) {
        const bool missing = (row + i) % 4 == 0;
        encoded.table.missing.data<bool>()[3 * row + i] = missing;
        encoded.table.values.data<float>()[3 * row + i] = missing ? NAN : static_cast<float>(100 * row + i);
      }
      for (int64_t i = 0; i < 2; ++i) encoded.text.data<int64_t>()[2 * row + i] = 1000 * row + i;
    }
    rows.resize(kRows - 3);  // 3 .. 42
    std::iota(rows.begin(), rows.end(), 3);
    options.format = {8, 3, Normalization::fixed, {0.5F, 0.4F, 0.3F}, {0.2F, 0.25F, 0.3F}};
    options.batch_size = 7;
    options.seed = 11;
    options.workers = 1;
    options.cache_bytes = 1 << 20;
  }
  Loader loader() const { return {dataset, rows, encoded, options}; }
};

std::vector<Batch> read_epoch(Loader& loader, int64_t epoch, int64_t first = 0) {
  loader.begin_epoch(epoch, first);
  std::vector<Batch> batches;
  for (Batch batch; loader.next(batch);) batches.push_back(std::move(batch));
  return batches;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.view().data, b.view().data, static_cast<size_t>(a.bytes())) == 0;
}

void expect_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].rows, b[i].rows);
    EXPECT_TRUE(same_bytes(a[i].images, b[i].images)) << "images of batch " << i;
    EXPECT_TRUE(same_bytes(a[i].image_present, b[i].image_present));
    EXPECT_TRUE(same_bytes(a[i].table.values, b[i].table.values));
    EXPECT_TRUE(same_bytes(a[i].table.missing, b[i].table.missing));
    EXPECT_TRUE(same_bytes(a[i].text, b[i].text));
    EXPECT_TRUE(same_bytes(a[i].targets, b[i].targets));
  }
}

TEST(Loader, DeliversEveryRowInOrderWithItsValues) {
  for (const int workers : {0, 1, 3}) {
    Fixture f;
    f.options.workers = workers;
    Loader loader = f.loader();
    EXPECT_EQ(loader.rows(), 40);
    EXPECT_EQ(loader.batches(), 6);
    std::vector<int64_t> seen;
    for (const Batch& batch : read_epoch(loader, 0)) {
      const int64_t count = batch.size();
      EXPECT_EQ(count, seen.size() < 35 ? 7 : 5);
      ASSERT_EQ(batch.images.shape(), (Shape{count, 8, 8, 3}));
      ASSERT_EQ(batch.image_present.shape(), (Shape{count}));
      ASSERT_EQ(batch.table.values.shape(), (Shape{count, 3}));
      ASSERT_EQ(batch.text.shape(), (Shape{count, 2}));
      ASSERT_EQ(batch.targets.shape(), (Shape{count, 2}));
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = batch.rows[static_cast<size_t>(i)];
        seen.push_back(row);
        EXPECT_EQ(batch.image_present.at(i), row % 10 == 5 ? 0.0 : 1.0);
        const Tensor expected =
            row % 10 == 5 ? Tensor::zeros({8, 8, 3}) : transform_image(f.images->read(row), f.options.format);
        EXPECT_TRUE(same_bytes(batch.images.slice(0, i, i + 1).reshape({8, 8, 3}), expected))
            << "row " << row;
        EXPECT_EQ(batch.targets.at(2 * i), static_cast<double>(row % 2));
        EXPECT_EQ(std::isnan(batch.targets.at(2 * i + 1)), row % 3 == 0);
        for (int64_t j = 0; j < 3; ++j) {
          const bool missing = (row + j) % 4 == 0;
          EXPECT_EQ(batch.table.missing.at(3 * i + j), missing ? 1.0 : 0.0);
          const double value = batch.table.values.at(3 * i + j);  // passed on as it is
          EXPECT_TRUE(missing ? std::isnan(value) : value == static_cast<double>(100 * row + j));
        }
        EXPECT_EQ(batch.text.at(2 * i + 1), static_cast<double>(1000 * row + 1));
      }
    }
    EXPECT_EQ(seen, f.rows);
  }
}

TEST(Loader, GivesTheSameBytesWhateverTheThreads) {
  Fixture f;
  f.images->delay = true;
  f.options.shuffle = true;
  f.options.augment = AugmentOptions{};
  f.options.workers = 0;
  Loader reference = f.loader();
  const std::vector<Batch> first = read_epoch(reference, 4);
  for (const auto& [workers, prefetch, cache] :
       {std::tuple{1, 1, int64_t{0}}, {2, 3, int64_t{1} << 20}, {4, 20, int64_t{5000}}}) {
    f.options.workers = workers;
    f.options.prefetch = prefetch;
    f.options.cache_bytes = cache;
    Loader loader = f.loader();
    read_epoch(loader, 3);
    expect_same(read_epoch(loader, 4), first);
    expect_same(read_epoch(loader, 4), first);
  }
}

TEST(Loader, ShufflesAndAugmentsAnewEachEpoch) {
  Fixture f;
  f.options.shuffle = true;
  f.options.batch_size = 40;
  f.options.augment = AugmentOptions{};
  Loader loader = f.loader();
  const Batch a = read_epoch(loader, 0)[0], b = read_epoch(loader, 1)[0];
  EXPECT_NE(a.rows, b.rows);
  for (const Batch* batch : {&a, &b}) {
    EXPECT_NE(batch->rows, f.rows);
    std::vector<int64_t> sorted = batch->rows;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, f.rows);
  }
  const auto image_of = [](const Batch& batch, int64_t row) {
    const int64_t i = std::find(batch.rows.begin(), batch.rows.end(), row) - batch.rows.begin();
    return batch.images.slice(0, i, i + 1);
  };
  EXPECT_FALSE(same_bytes(image_of(a, 7), image_of(b, 7)));
  f.options.seed = 12;
  Loader other = f.loader();
  EXPECT_NE(read_epoch(other, 0)[0].rows, a.rows);
}

TEST(Loader, BeginsInTheMiddleOfAnEpoch) {
  Fixture f;
  f.options.shuffle = true;
  f.options.augment = AugmentOptions{};
  Loader loader = f.loader();
  const std::vector<Batch> whole = read_epoch(loader, 2);
  for (int64_t first = 0; first <= loader.batches(); ++first)
    expect_same({whole.begin() + first, whole.end()}, read_epoch(loader, 2, first));
  EXPECT_THROW(loader.begin_epoch(2, loader.batches() + 1), core::Error);
}

TEST(Loader, DropsTheLastShortBatchOnRequest) {
  Fixture f;
  f.options.drop_last = true;
  Loader loader = f.loader();
  EXPECT_EQ(loader.batches(), 5);
  EXPECT_EQ(read_epoch(loader, 0).size(), 5U);
  f.options.batch_size = 41;
  Loader empty = f.loader();
  EXPECT_EQ(read_epoch(empty, 0).size(), 0U);
}

TEST(Loader, DecodesEachImageOnceWhereTheCacheHolds) {
  Fixture f;
  f.options.workers = 2;
  Loader cached = f.loader();
  for (int64_t epoch = 0; epoch < 3; ++epoch) read_epoch(cached, epoch);
  EXPECT_EQ(f.images->reads, 36);  // four of the 40 rows have no image

  f.images->reads = 0;
  f.options.cache_bytes = 10 * 8 * 8 * 4;  // ten gray images
  Loader small = f.loader();
  for (int64_t epoch = 0; epoch < 3; ++epoch) read_epoch(small, epoch);
  EXPECT_EQ(f.images->reads, 10 + 3 * 26);
}

TEST(Loader, RaisesTheFirstFailureInOrder) {
  for (const int workers : {0, 1, 4}) {
    Fixture f;
    f.options.workers = workers;
    f.images->delay = true;
    f.images->broken = {13, 12, 30};  // rows 10 .. 16 are the second batch
    Loader loader = f.loader();
    for (int attempt = 0; attempt < 2; ++attempt) {
      loader.begin_epoch(attempt);
      Batch batch;
      EXPECT_TRUE(loader.next(batch));
      EXPECT_THAT([&] { loader.next(batch); },
                  ThrowsMessage<core::InputError>(HasSubstr("12.png: truncated PNG")));
      EXPECT_FALSE(loader.next(batch));
    }
    f.images->repaired = true;
    EXPECT_EQ(read_epoch(loader, 2).size(), 6U);
  }
}

TEST(Loader, CanBeAbandonedAtAnyPoint) {
  Fixture f;
  f.images->delay = true;
  f.options.workers = 3;
  f.options.prefetch = 4;
  for (int taken = 0; taken < 4; ++taken) {
    Loader loader = f.loader();
    if (taken == 0) continue;  // never started
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      loader.begin_epoch(epoch);
      Batch batch;
      for (int i = 1; i < taken; ++i) EXPECT_TRUE(loader.next(batch));
    }
    const std::vector<Batch> batches = read_epoch(loader, 3);
    EXPECT_EQ(batches.size(), 6U);
    EXPECT_EQ(batches[0].rows[0], 3);
    loader.begin_epoch(4);
  }
}

TEST(Loader, PreparesNoMoreThanAsked) {
  Fixture f;
  f.options.workers = 2;
  f.options.prefetch = 2;
  f.options.cache_bytes = 0;
  Loader loader = f.loader();
  loader.begin_epoch(0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LE(f.images->reads, 4 * 7);  // the batch taken, the next, and two ahead of it
  EXPECT_GE(f.images->reads, 6);
}

TEST(Loader, WorksWithoutImagesTableOrText) {
  Fixture f;
  f.options.use_images = false;
  f.encoded = {};
  f.options.workers = 2;
  Loader loader = f.loader();
  const std::vector<Batch> batches = read_epoch(loader, 0);
  ASSERT_EQ(batches.size(), 6U);
  EXPECT_FALSE(batches[5].images.defined());
  EXPECT_FALSE(batches[5].table.values.defined());
  EXPECT_FALSE(batches[5].table.missing.defined());
  EXPECT_FALSE(batches[5].text.defined());
  EXPECT_TRUE(same_bytes(batches[5].image_present, Tensor::zeros({5}, DType::boolean)));
  EXPECT_EQ(batches[5].targets.shape(), (Shape{5, 2}));
  EXPECT_EQ(f.images->reads, 0);
}

TEST(Loader, RejectsWhatDoesNotFit) {
  Fixture f;
  f.rows.push_back(kRows);
  EXPECT_THROW(f.loader(), core::Error);
  f = {};
  f.encoded.table.values = Tensor::zeros({kRows - 1, 3});
  EXPECT_THROW(f.loader(), core::Error);
  f = {};
  f.encoded.table.missing = {};
  EXPECT_THROW(f.loader(), core::Error);
  f = {};
  f.encoded.text = Tensor::zeros({kRows, 2});
  EXPECT_THROW(f.loader(), core::Error);
  f = {};
  f.options.batch_size = 0;
  EXPECT_THROW(f.loader(), core::Error);
}

// Cases a: rows 3, 4, 5 (no image) and 6; b: row 7 alone.
TEST(Loader, GivesTheNextImageOfTheCaseAsWell) {
  Fixture f;
  f.dataset.image_groups.resize(kRows);
  for (const size_t row : {3, 4, 5, 6}) f.dataset.image_groups[row] = "a";
  f.dataset.image_groups[7] = "b";
  EXPECT_THAT(other_images_of(f.dataset), testing::Each(testing::AnyOf(-1, 3, 4, 6)));
  f.rows = {3, 4, 5, 6, 7, 8};
  Loader loader(f.dataset, f.rows, f.encoded, f.options);
  loader.begin_epoch(0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  const int64_t size = batch.images.numel() / 6;
  const auto same = [&](int64_t row, int64_t other) {
    return std::memcmp(batch.other_images.data<float>() + row * size,
                       batch.images.data<float>() + other * size,
                       static_cast<size_t>(size) * sizeof(float)) == 0;
  };
  EXPECT_TRUE(same(0, 1)) << "row 3 has row 4";
  EXPECT_TRUE(same(1, 3)) << "row 4 has row 6, for row 5 has no image";
  EXPECT_TRUE(same(3, 0)) << "row 6 has row 3";
  const bool present[] = {true, true, false, true, false, false};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(batch.other_present.data<bool>()[i], present[i]) << i;
}

TEST(ImageGroups, OfSeveralPatientsAreRefused) {
  Fixture f;
  f.dataset.image_groups.assign(kRows, "");
  f.dataset.image_groups[1] = f.dataset.image_groups[2] = "a";
  f.dataset.patients.assign(kRows, "p");
  check_image_groups(f.dataset);
  f.dataset.patients[2] = "q";
  EXPECT_THAT([&] { check_image_groups(f.dataset); },
              ThrowsMessage<core::InputError>(
                  "data.group_images: expected the rows of 'a' to be of one patient, got p and q"));
}

}  // namespace
}  // namespace medfusion::data
