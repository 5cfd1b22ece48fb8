// Two views of one shape as a list of runs: what a copy between them moves.
#pragma once

#include "core/view.h"

namespace medfusion::kernels::concat {

// Dimensions contiguous in both views are merged into one run, those of size 1 dropped.
struct Runs {
  int rank = 0;  // of the outer dimensions
  int64_t sizes[core::kMaxRank] = {};
  int64_t from[core::kMaxRank] = {}, to[core::kMaxRank] = {};  // strides
  int64_t count = 1;                                           // runs
  int64_t length = 1;                                          // elements of one run

  Runs() = default;
  Runs(const core::View& a, const core::View& b) {
    int inner = a.rank();
    for (; inner > 0; --inner) {
      const int i = inner - 1;
      if (a.shape[i] != 1 && (a.strides[i] != length || b.strides[i] != length)) break;
      length *= a.shape[i];
    }
    for (int i = 0; i < inner; ++i) {
      if (a.shape[i] == 1) continue;
      sizes[rank] = a.shape[i];
      from[rank] = a.strides[i];
      to[rank++] = b.strides[i];
      count *= a.shape[i];
    }
  }
};

}  // namespace medfusion::kernels::concat
