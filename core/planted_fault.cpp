#include "core/planted_fault.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include "core/error.h"

namespace medfusion::core {
namespace {

struct Plan {
  std::string kind;
  int64_t launch = 0;  // counted from 1; 0: nothing is planted
};

Plan read_plan() {
  const char* const text = std::getenv("MEDFUSION_PLANTED_FAULT");
  if (text == nullptr || *text == '\0') return {};
  const std::string_view all = text;
  const size_t at = std::min(all.find('@'), all.size());
  Plan plan{std::string(all.substr(0, at)), 0};
  const std::string_view number = all.substr(std::min(at + 1, all.size()));
  std::from_chars(number.data(), number.data() + number.size(), plan.launch);
  const bool known = plan.kind == "hang" || plan.kind == "crash" || plan.kind == "sticky";
  if (!known || plan.launch < 1) {
    throw Error(fmt::format("MEDFUSION_PLANTED_FAULT: expected hang@N, crash@N or sticky@N, got '{}'", all));
  }
  return plan;
}

std::mutex& loss_mutex() {
  static std::mutex mutex;
  return mutex;
}
std::string& loss() {
  static std::string text;
  return text;
}

}  // namespace

void planted_fault(const char* launch) {
  static const Plan plan = read_plan();
  if (plan.launch == 0) [[likely]]
    return;
  static std::atomic<int64_t> launches{0};
  const int64_t number = ++launches;
  if (plan.kind == "sticky") {
    const std::lock_guard lock(loss_mutex());
    if (number == plan.launch) loss() = fmt::format("{}: a planted sticky error", launch);
    if (number >= plan.launch) throw Error(loss());
    return;
  }
  if (number != plan.launch) return;
  if (plan.kind == "crash") std::abort();
  for (;;) ::pause();
}

std::string planted_loss() {
  const std::lock_guard lock(loss_mutex());
  return loss();
}

}  // namespace medfusion::core
