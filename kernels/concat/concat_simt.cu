// Copies runs of elements that are contiguous on both sides, 16 bytes at a time where all runs are aligned to
// them; a row of blocks per part.
#include <algorithm>
#include <vector>

#include "kernels/concat/concat.h"
#include "kernels/concat/concat_runs.h"
#include "kernels/gpu/device.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kPartsPerLaunch = 8;
constexpr int64_t kMostBlocks = 2048;  // of one part

// Strides count elements of T, `length` units of N of them.
template <class T>
struct Part {
  Global<const T> from = nullptr;
  Global<T> to = nullptr;
  int64_t total = 0, length = 0;
  int rank = 0;
  int64_t sizes[core::kMaxRank] = {}, from_strides[core::kMaxRank] = {}, to_strides[core::kMaxRank] = {};
};

template <class T>
struct Parts {
  Part<T> part[kPartsPerLaunch];
};

// Index holds the number of units of a part.
template <class T, int N, class Index>
__global__ void __launch_bounds__(kThreads) concat_copy(const Parts<T> parts) {
  const Part<T>& part = parts.part[blockIdx.y];
  const auto total = static_cast<Index>(part.total);
  const auto length = static_cast<Index>(part.length);
  const Index step = static_cast<Index>(gridDim.x) * kThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    Index run = i / length;
    int64_t from = static_cast<int64_t>(i - run * length) * N;
    int64_t to = from;
    for (int d = part.rank - 1; d >= 0; --d) {
      const auto size = static_cast<Index>(part.sizes[d]);
      const Index rest = run / size;
      const auto index = static_cast<int64_t>(run - rest * size);
      from += index * part.from_strides[d];
      to += index * part.to_strides[d];
      run = rest;
    }
    store<N>(part.to, to, load<N>(part.from, from));
  }
}

struct Copy {
  core::View from, to;
  concat::Runs runs;
};

// Whether every run of the copies starts and ends at a multiple of `bytes`.
bool aligned(const std::vector<Copy>& copies, int64_t bytes) {
  return std::all_of(copies.begin(), copies.end(), [&](const Copy& c) {
    const int64_t element = core::size_of(c.from.dtype);
    auto bits = reinterpret_cast<uint64_t>(c.from.data) | reinterpret_cast<uint64_t>(c.to.data) |
                static_cast<uint64_t>(c.runs.length * element);
    for (int d = 0; d < c.runs.rank; ++d) {
      bits |= static_cast<uint64_t>(c.runs.from[d] * element) | static_cast<uint64_t>(c.runs.to[d] * element);
    }
    return bits % static_cast<uint64_t>(bytes) == 0;
  });
}

// The copies, whose runs are whole units of N elements of T.
template <class T, int N>
void copy_as(const std::vector<Copy>& copies, core::Device device) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  for (size_t first = 0; first < copies.size(); first += kPartsPerLaunch) {
    Parts<T> parts;
    const size_t count = std::min<size_t>(kPartsPerLaunch, copies.size() - first);
    int64_t most = 0;
    for (size_t n = 0; n < count; ++n) {
      const Copy& c = copies[first + n];
      const int64_t element = core::size_of(c.from.dtype);
      Part<T>& part = parts.part[n];
      part.from = static_cast<const T*>(c.from.data);
      part.to = static_cast<T*>(c.to.data);
      part.length = c.runs.length * element / (N * kSize);
      part.total = c.runs.count * part.length;
      part.rank = c.runs.rank;
      for (int d = 0; d < c.runs.rank; ++d) {
        part.sizes[d] = c.runs.sizes[d];
        part.from_strides[d] = c.runs.from[d] * element / kSize;
        part.to_strides[d] = c.runs.to[d] * element / kSize;
      }
      most = std::max(most, part.total);
    }
    const bool narrow = most < (int64_t{1} << 30);
    const dim3 grid = grid_of(std::min(ceil_div(most, kThreads), kMostBlocks), static_cast<int64_t>(count));
    launch({"concat_copy", device, grid, dim3(kThreads)},
           narrow ? concat_copy<T, N, uint32_t> : concat_copy<T, N, uint64_t>, parts);
  }
}

template <class Args>
void run(const Args& a) {
  std::vector<Copy> copies;
  for_parts(a, [&](const core::View& from, const core::View& to) {
    if (from.numel() > 0) copies.push_back({from, to, concat::Runs(from, to)});
  });
  const core::Device device = a.tensors().front()->device;
  if (aligned(copies, 16)) {
    copy_as<uint32_t, 4>(copies, device);
  } else if (aligned(copies, 4)) {
    copy_as<uint32_t, 1>(copies, device);
  } else {
    copy_as<uint8_t, 1>(copies, device);
  }
}

const Register<ConcatForward> forward("simt", kDevice, 10, {takes::any_dtype, takes::any_strides}, run);
const Register<ConcatBackward> backward("simt", kDevice, 10, {takes::any_dtype, takes::any_strides}, run);

}  // namespace
}  // namespace medfusion::kernels
