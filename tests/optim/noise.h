// Data of noise for tests of training, and a comparison of tensors to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>

#include "core/random.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "optim/optimizer.h"

namespace medfusion::optim {

// Gray u8 images, `edge` pixels wide and high; row 3 has none.
class NoiseImages : public data::ImageSource {
 public:
  // With `heights_differ`, row r is r pixels higher.
  NoiseImages(int64_t edge, bool heights_differ) : edge_(edge), heights_differ_(heights_differ) {}
  core::Tensor read(int64_t row) const override {
    core::Tensor image =
        core::Tensor::empty({edge_ + (heights_differ_ ? row : 0), edge_, 1}, core::DType::u8);
    const core::Philox philox(5, static_cast<uint64_t>(row));
    for (int64_t i = 0; i < image.numel(); ++i)
      image.data<uint8_t>()[i] = static_cast<uint8_t>(philox.block(static_cast<uint64_t>(i))[0]);
    return image;
  }
  bool present(int64_t row) const override { return row != 3; }

 private:
  int64_t edge_;
  bool heights_differ_;
};

// Those images with two labels, of which each row has one.
inline data::Dataset noise_dataset(int64_t rows, int64_t edge, bool heights_differ = false) {
  data::Dataset dataset;
  dataset.labels = {"a", "b"};
  for (int64_t i = 0; i < rows; ++i) dataset.ids.push_back(std::to_string(i));
  dataset.patients = dataset.ids;
  dataset.images = std::make_shared<NoiseImages>(edge, heights_differ);
  dataset.targets = core::Tensor::zeros({rows, 2});
  for (int64_t i = 0; i < rows; ++i) dataset.targets.data<float>()[2 * i + i % 2] = 1.0F;
  return dataset;
}

// Some targets are unknown, all of row 5.
inline data::Dataset noise_with_unknown_targets(int64_t rows, int64_t edge) {
  data::Dataset dataset = noise_dataset(rows, edge);
  for (int64_t i = 1; i < rows; i += 4) dataset.targets.data<float>()[2 * i] = NAN;
  dataset.targets.data<float>()[2 * 5 + 1] = NAN;
  return dataset;
}

// A table of three numbers in each row.
inline core::Batch noise_table(int64_t rows) {
  core::Batch encoded;
  encoded.table.values = core::Tensor::empty({rows, 3});
  encoded.table.missing = core::Tensor::zeros({rows, 3}, core::DType::boolean);
  const core::Philox philox(7, 0);
  for (int64_t i = 0; i < 3 * rows; ++i)
    encoded.table.values.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  return encoded;
}

// On the cpu.
inline void expect_same_tensors(const NamedTensors& expected, const NamedTensors& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(actual.contains(name)) << name;
    const core::Tensor& other = actual.at(name);
    ASSERT_EQ(tensor.bytes(), other.bytes()) << name;
    EXPECT_EQ(std::memcmp(tensor.view().data, other.view().data, static_cast<size_t>(tensor.bytes())), 0)
        << name;
  }
}

}  // namespace medfusion::optim
