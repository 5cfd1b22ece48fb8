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
bool supports_forward(const ConcatForward& a) { return a.y.dtype != core::DType::f64; }
void run_forward(const ConcatForward& a) {
  int64_t first = 0;
  for (const core::View& x : a.inputs) {
    const int64_t size = x.shape[a.dimension];
    copy(x, concat_part(a.y, a.dimension, first, size));
    first += size;
  }
}

bool supports_backward(const ConcatBackward& a) { return a.grad_y.dtype != core::DType::f64; }
void run_backward(const ConcatBackward& a) {
  int64_t first = 0;
  for (const core::View& grad : a.grads) {
    const int64_t size = grad.shape[a.dimension];
    if (grad.data != nullptr) copy(concat_part(a.grad_y, a.dimension, first, size), grad);
    first += size;
  }
}

const Register<ConcatForward> forward({"cpu", core::DeviceType::cpu, 10, supports_forward, run_forward},
                                      "any dtype but f64, any strides");
const Register<ConcatBackward> backward({"cpu", core::DeviceType::cpu, 10, supports_backward, run_backward},
                                        "any dtype but f64, any strides");

}  // namespace
}  // namespace medfusion::kernels
