// Batches of a dataset, prepared ahead by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/batch.h"
#include "core/shards.h"
#include "data/dataset.h"
#include "data/images/augment.h"
#include "data/images/transform.h"

namespace medfusion::data {

using core::Batch;

// The samples `rows` of `all`, in that order: of each part that is there, those rows of its first dimension.
Batch gather(const Batch& all, std::vector<int64_t> rows);

struct LoaderOptions {
  bool use_images = true;
  ImageFormat format;
  int64_t batch_size = 0;  // at least 1
  bool shuffle = false;
  // Of several ranks each gets, and reads, its own rows of each batch; or, by whole_batches, every
  // plan.ranks-th batch, from number plan.rank on.
  core::ShardPlan plan = {};
  bool whole_batches = false;
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
  // Reads `rows` of the dataset (repeats are allowed); without shuffle in the order given. `encoded` holds
  // what the encoders made of all N rows, table (f32) and text; targets and images are the dataset's. Keeps
  // what it needs of the dataset, which need not outlive it. Throws core::Error where shapes do not fit or a
  // row does not exist.
  Loader(const Dataset& dataset, std::vector<int64_t> rows, Batch encoded, LoaderOptions options);
  // Waits for the images being decoded at that moment, not for the rest of the epoch.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t rows() const;                 // row numbers given
  int64_t batches() const;              // of those, per epoch, on all ranks together
  int64_t batch_size() const;           // of the options
  bool is_divided() const;              // whether this rank gets only some of the batches
  const core::ShardPlan& plan() const;  // of the options

  // Starts an epoch, abandoning one under way, with its batch number `first` (counted from 0).
  void begin_epoch(int64_t epoch, int64_t first = 0);
  // The next batch, images as options.format says, f32; or false at the end of the epoch. Rethrows what went
  // wrong with the first row, in the order of the epoch, that could not be read; the epoch has then ended.
  bool next(Batch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace medfusion::data
