// How a batch is divided: into shards, which are computed each on its own, and those among ranks.
#pragma once

#include <cstdint>

namespace medfusion::core {

// Rows [first, last) of a batch.
struct RowRange {
  int64_t first = 0, last = 0;
  int64_t count() const { return last - first; }
};

// A batch is `shards` shards in the order of its rows, whatever the number of ranks; a rank has as many as
// the others, side by side. Both numbers are powers of two, ranks <= shards.
struct ShardPlan {
  int64_t shards = 1;
  int64_t rank = 0, ranks = 1;

  int64_t own() const { return shards / ranks; }  // how many shards this rank has
  int64_t first() const { return rank * own(); }  // the first of them

  // The rows of shard number `shard` of a batch of `rows`; none where the batch has fewer rows than shards.
  RowRange rows_of(int64_t shard, int64_t rows) const {
    return {shard * rows / shards, (shard + 1) * rows / shards};
  }
  // The rows of this rank.
  RowRange own_rows(int64_t rows) const {
    return {rows_of(first(), rows).first, rows_of(first() + own() - 1, rows).last};
  }
};

}  // namespace medfusion::core
