// Which algorithm of a library solves a problem: the first of its ranking that has been seen to run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/runtime.h"

namespace medfusion::kernels::convolution {

// What a library says of an algorithm. Usable: it solves the problem, and deterministically.
template <class Algorithm>
struct Ranked {
  Algorithm algorithm;
  bool usable;
};

template <class Algorithm>
struct Choice {
  Algorithm algorithm;
  size_t workspace;  // in bytes
};

// The first of the usable algorithms of `ranking`, then of `fallbacks`, whose workspace is known and at most
// `most_workspace` bytes and which runs; none where there is none. workspace_of(algorithm) is an
// optional<size_t>. runs(choice) runs it once: false, or OutOfMemory, refuses it, other exceptions pass.
template <class Algorithm, class Workspace, class Runs>
std::optional<Choice<Algorithm>> first_that_runs(const std::vector<Ranked<Algorithm>>& ranking,
                                                 const std::vector<Algorithm>& fallbacks,
                                                 size_t most_workspace, const Workspace& workspace_of,
                                                 const Runs& runs) {
  std::vector<Algorithm> asked;
  const auto solve = [&](Algorithm algorithm) -> std::optional<Choice<Algorithm>> {
    if (std::find(asked.begin(), asked.end(), algorithm) != asked.end()) return std::nullopt;
    asked.push_back(algorithm);
    const std::optional<size_t> workspace = workspace_of(algorithm);
    if (!workspace || *workspace > most_workspace) return std::nullopt;
    const Choice<Algorithm> choice{algorithm, *workspace};
    try {
      if (runs(choice)) return choice;
    } catch (const core::OutOfMemory&) {
    }
    return std::nullopt;
  };
  for (const Ranked<Algorithm>& ranked : ranking) {
    if (!ranked.usable) continue;
    if (const auto choice = solve(ranked.algorithm)) return choice;
  }
  for (const Algorithm algorithm : fallbacks) {
    if (const auto choice = solve(algorithm)) return choice;
  }
  return std::nullopt;
}

// Zero-filled memory of a device, in the order of the stream. It comes from the runtime and goes back to it:
// what the caching allocator hands out during the set-up of a captured graph would stay with the graph.
class Scratch {
 public:
  // Throws OutOfMemory where there is none even without what is cached.
  Scratch(core::Device device, core::Stream stream, int64_t bytes)
      : runtime_(core::runtime(device)), stream_(stream), bytes_(bytes) {
    if (bytes_ == 0) return;
    try {
      data_ = runtime_.allocate(bytes_, stream_);
    } catch (const core::OutOfMemory&) {
      core::allocator(device).release_cached();
      data_ = runtime_.allocate(bytes_, stream_);
    }
    try {
      runtime_.fill_bytes(data_, 0, bytes_, stream_);
    } catch (...) {
      runtime_.free(data_, bytes_, stream_);
      throw;
    }
  }
  ~Scratch() { runtime_.free(data_, bytes_, stream_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* data() const { return data_; }  // aligned to at least 64 bytes; null where there are none

 private:
  core::Runtime& runtime_;
  const core::Stream stream_;
  const int64_t bytes_;
  void* data_ = nullptr;
};

}  // namespace medfusion::kernels::convolution
