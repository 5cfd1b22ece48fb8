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
  Tensor other_images;   // a second image of each sample's case, shaped as images; undefined: none has one
  Tensor other_present;  // [B] bool; undefined: all present, where other_images is defined
  Table table;
  Tensor table_present;  // [B] bool; undefined: all present
  Tensor text;           // [B, W] i64, numbers of words; 0 is padding
  Tensor targets;        // [B, L] f32: 0, 1 or NaN for unknown; undefined where nobody knows them
  // [n, L] of the batch of which these are some rows (core/shards.h); undefined: these are all. Stays on the
  // host.
  Tensor whole_targets;
  std::vector<int64_t> rows;  // [B] row numbers in the dataset; empty where the batch is of no dataset

  // B, by the first part that is there; 0 where none is.
  int64_t size() const;
  // n, or B where these are all.
  int64_t whole_size() const { return whole_targets.defined() ? whole_targets.size(0) : size(); }
  // Every part of the rows, undefined ones included, always in the same order.
  std::vector<Tensor*> tensors();
};

}  // namespace medfusion::core
