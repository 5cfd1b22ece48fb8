#include "kernels/gpu/math_mode.h"

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace medfusion::cuda {
namespace {

std::atomic<bool>& flag() {
  static std::atomic<bool> allow = [] {
    const char* value = std::getenv("MEDFUSION_ALLOW_TF32");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return allow;
}

}  // namespace

bool allow_tf32() { return flag().load(std::memory_order_relaxed); }
void set_allow_tf32(bool allow) { flag().store(allow, std::memory_order_relaxed); }

}  // namespace medfusion::cuda
