// One batch of samples, from the loader to the network and the loss.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace medfusion::core {

// Table features of n samples.
struct Table {
  Tensor values;   // [n, T] floating; where missing 0, what imputation put there, or NaN
  Tensor missing;  // [n, T] bool; undefined: none missing
  Tensor bins;     // [n, T] i64, 0 where missing; undefined where the features are not discretized
};

// Parts that nobody gave are undefined.
struct Batch {
  Tensor images;         // [B, H, W, channels] floating; 0 where the sample has no image
  Tensor image_present;  // [B] bool; undefined: all present
  Table table;
  Tensor table_present;       // [B] bool; undefined: all present
  Tensor text;                // [B, W] i64, numbers of words; 0 is padding
  Tensor targets;             // [B, L] f32: 0, 1 or NaN for unknown; undefined where nobody knows them
  std::vector<int64_t> rows;  // [B] row numbers in the dataset; empty where the batch is of no dataset

  // B, by the first part that is there; 0 where none is.
  int64_t size() const;
  // Every part, undefined ones included, always in the same order.
  std::vector<Tensor*> tensors();
};

}  // namespace medfusion::core
