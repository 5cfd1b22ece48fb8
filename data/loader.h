// Batches of a dataset, prepared ahead by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "data/dataset.h"
#include "data/images/augment.h"
#include "data/images/transform.h"

namespace medfusion::data {

// B rows. Tensors of what the loader was not given (images, table, tokens) are undefined.
struct Batch {
  core::Tensor images;         // [B, size, size, channels] f32; zero where the row has no image
  core::Tensor image_present;  // [B] bool
  core::Tensor table;          // [B, F] f32
  core::Tensor table_missing;  // [B, F] bool
  core::Tensor table_bins;     // [B, F] i64
  core::Tensor tokens;         // [B, W] i64
  core::Tensor targets;        // [B, L] f32: 0, 1 or NaN for unknown
  std::vector<int64_t> rows;   // row numbers in the dataset

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

// What the encoders made of all N rows of the dataset; leave undefined what the network does not read.
struct EncodedRows {
  core::Tensor table;          // [N, F] f32
  core::Tensor table_missing;  // [N, F] bool
  core::Tensor tokens;         // [N, W] i64
  core::Tensor table_bins;     // [N, F] i64, with table alone
};

struct LoaderOptions {
  bool use_images = true;
  ImageFormat format;
  int64_t batch_size = 0;  // at least 1
  bool shuffle = false;
  bool drop_last = false;                 // leave out a last batch that is not full
  std::optional<AugmentOptions> augment;  // none: images as they are
  uint64_t seed = 1;                      // of the order and the augmentation
  int workers = 0;                        // threads; 0 prepares each batch in next()
  int prefetch = 2;                       // batches prepared ahead of the one asked for; at least 1
  int64_t cache_bytes = 0;                // memory for decoded and resized images, before augmentation
};

// The order and the contents of an epoch's batches depend on the seed and the epoch only, not on the threads.
class Loader {
 public:
  // Reads `rows` of the dataset (repeats are allowed); without shuffle in the order given. Keeps what it
  // needs of the dataset, which need not outlive it. Throws core::Error where shapes do not fit or a row does
  // not exist.
  Loader(const Dataset& dataset, std::vector<int64_t> rows, EncodedRows encoded, LoaderOptions options);
  // Waits for the images being decoded at that moment, not for the rest of the epoch.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t rows() const;     // row numbers given
  int64_t batches() const;  // per epoch

  // Starts an epoch, abandoning one under way.
  void begin_epoch(int64_t epoch);
  // The next batch, or false at the end of the epoch. Rethrows what went wrong with the first row, in the
  // order of the epoch, that could not be read; the epoch has then ended.
  bool next(Batch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace medfusion::data
