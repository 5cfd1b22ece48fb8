// Threads where the system may have none left.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace medfusion::core {

// Threads that call `work`, which must not throw: `count` of them, or as many as the system starts, down to
// none. Where these are fewer, the first such call of the process says so on standard error.
std::vector<std::thread> start_threads(int count, const std::function<void()>& work);

}  // namespace medfusion::core
