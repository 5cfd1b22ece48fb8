// parallel_for: the same split of the work whatever the number of threads, so that results do not depend on
// it.
#pragma once

#include <cstdint>
#include <functional>

namespace medfusion::core {

// Sets the number of threads parallel_for uses, the caller included. count >= 1.
void set_num_threads(int count);
int num_threads();

// Calls body(first, last) for the consecutive chunks [begin, begin + grain), [begin + grain, ...) of [begin,
// end). The chunks depend on (begin, end, grain) only. Chunks run on any thread in any order: a body must
// write only what its chunk owns. A call from within a body runs its chunks in order on the calling thread.
// The first exception of a body is rethrown to the caller after all chunks have ended.
void parallel_for(int64_t begin, int64_t end, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body);

// While one of these lives, parallel_for runs its chunks in order on this thread, and leaves the others to
// whoever else calls it.
class SerialGuard {
 public:
  SerialGuard();
  ~SerialGuard();
  SerialGuard(const SerialGuard&) = delete;
  SerialGuard& operator=(const SerialGuard&) = delete;

 private:
  bool before_;
};

}  // namespace medfusion::core
