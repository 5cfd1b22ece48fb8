#include "tools/medfusion/workshop/occupancy.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace medfusion::tools {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 64;             // of a multiprocessor, on 8.0 and 9.0
constexpr int kBlocks = 32;            // likewise
constexpr int kRegisters = 64 * 1024;  // likewise
constexpr int kRegisterUnit = 256;     // registers are given to a warp in steps of this
constexpr int kWarpUnit = 4;           // warps share the four register files evenly
constexpr int64_t kSharedUnit = 128;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

std::optional<Occupancy> occupancy_of(const std::string& architecture, int registers, int64_t shared_bytes,
                                      int threads) {
  const int64_t kibibytes = architecture.starts_with("sm_80")   ? 164
                            : architecture.starts_with("sm_90") ? 228
                                                                : 0;
  if (kibibytes == 0 || threads <= 0) return std::nullopt;
  const int64_t block_warps = (threads + kWarp - 1) / kWarp;
  const int64_t warp_registers = round_up(int64_t{std::max(registers, 1)} * kWarp, kRegisterUnit);
  const int64_t register_warps = kRegisters / warp_registers / kWarpUnit * kWarpUnit;
  const int64_t block_shared = round_up(shared_bytes + kReservedShared, kSharedUnit);
  const std::pair<int64_t, const char*> limits[] = {
      {kWarps / block_warps, "threads"},
      {register_warps / block_warps, "registers"},
      {kibibytes * 1024 / block_shared, "shared memory"},
      {kBlocks, "blocks"},
  };
  const auto* least = std::min_element(std::begin(limits), std::end(limits),
                                       [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto warps = static_cast<int>(least->first * block_warps);
  return Occupancy{static_cast<int>(least->first), warps, static_cast<double>(warps) / kWarps, least->second};
}

}  // namespace medfusion::tools
