// Tables of vectors: learned ones, and the fixed code of a place in an image.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "layers/module.h"

namespace medfusion::layers {

// Rows of a learned table. ids i64 [...] -> [..., dim].
class Embedding : public Module {
 public:
  // `name`: of the table in a checkpoint.
  Embedding(int64_t rows, int64_t dim, Init init, const TensorOptions& options,
            const std::string& name = "weight");
  core::Variable forward(const core::Tensor& ids);

  core::Variable weight;  // [rows, dim]
};

// Tensors that depend on sizes only: made on the host once, then kept on the device.
class DeviceConstants {
 public:
  // The one of `key`, which is what `make` gives at the first call.
  core::Tensor get(const core::Shape& key, core::Device device, const std::function<core::Tensor()>& make);

 private:
  struct Entry {
    core::Shape key;
    core::Tensor tensor;
  };
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

// The fixed code of the pixels of a height x width image, row by row: [height * width, dim], dim a multiple
// of
// 4. docs/medfusionnet.md has the formula.
core::Tensor position_code(int64_t height, int64_t width, int64_t dim, core::DType dtype);

}  // namespace medfusion::layers
