// Copies runs of elements that are contiguous on both sides. Nothing is computed, so bytes are moved, of any
// dtype; the C library's memcpy is vectorized already.
#include <cstring>

#include "core/threads.h"
#include "kernels/concat/concat.h"
#include "kernels/concat/concat_runs.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

constexpr int64_t kGrainBytes = 1 << 16;

using concat::Runs;

void copy_runs(const Runs& runs, int64_t first, int64_t last, const char* from, char* to, int64_t element) {
  int64_t index[core::kMaxRank] = {};
  int64_t rest = first;
  int64_t offset_from = 0;
  int64_t offset_to = 0;
  for (int i = runs.rank - 1; i >= 0; --i) {
    index[i] = rest % runs.sizes[i];
    rest /= runs.sizes[i];
    offset_from += index[i] * runs.from[i];
    offset_to += index[i] * runs.to[i];
  }
  const auto bytes = static_cast<size_t>(runs.length * element);
  for (int64_t run = first; run < last; ++run) {
    std::memcpy(to + offset_to * element, from + offset_from * element, bytes);
    for (int i = runs.rank - 1; i >= 0; --i) {  // the next index, the last dimension first
      offset_from += runs.from[i];
      offset_to += runs.to[i];
      if (++index[i] < runs.sizes[i]) break;
      offset_from -= runs.from[i] * runs.sizes[i];
      offset_to -= runs.to[i] * runs.sizes[i];
      index[i] = 0;
    }
  }
}

void copy(const core::View& from, const core::View& to) {
  if (from.numel() == 0) return;
  const Runs runs(from, to);
  const int64_t element = core::size_of(from.dtype);
  const int64_t grain = std::max<int64_t>(1, kGrainBytes / (runs.length * element));
  core::parallel_for(0, runs.count, grain, [&](int64_t first, int64_t last) {
    copy_runs(runs, first, last, static_cast<const char*>(from.data), static_cast<char*>(to.data), element);
  });
}

// f64 belongs to the reference.
void run_forward(const ConcatForward& a) { for_parts(a, copy); }
void run_backward(const ConcatBackward& a) { for_parts(a, copy); }

template <class Args>
bool narrow(const Args& a) {
  return !takes::f64.holds(a.tensors());
}
constexpr const char* kNarrow = "any dtype but f64";

const Register<ConcatForward> forward("cpu", kCpu, 10, {{kNarrow, narrow<ConcatForward>}, takes::any_strides},
                                      run_forward);
const Register<ConcatBackward> backward("cpu", kCpu, 10,
                                        {{kNarrow, narrow<ConcatBackward>}, takes::any_strides},
                                        run_backward);

}  // namespace
}  // namespace medfusion::kernels
