#include "core/start_threads.h"

#include <atomic>
#include <system_error>

#include "core/tell.h"

namespace medfusion::core {

std::vector<std::thread> start_threads(int count, const std::function<void()>& work) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  try {
    while (static_cast<int>(threads.size()) < count) threads.emplace_back(work);
  } catch (const std::system_error& error) {
    static std::atomic_flag told;
    if (!told.test_and_set()) {
      tell("note: the system started {} of {} threads ({}); the work goes on with these, slower\n",
           threads.size(), count, error.code().message());
    }
  }
  return threads;
}

}  // namespace medfusion::core
