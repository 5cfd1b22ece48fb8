#include "kernels/simulator/device_memory.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>

#include "core/error.h"
#include "core/host_memory.h"
#include "kernels/simulator/device_block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) static_cast<void>(0)
#endif

namespace medfusion::simulator {
namespace {

using core::Error;

constexpr int64_t kGuard = 128;  // a multiple of the alignment
constexpr int64_t kAlignment = 64;
constexpr unsigned char kGuardByte = 0xA5;
constexpr unsigned char kFreshByte = 0xFF;                // NaN in every floating type
constexpr int64_t kKeptRetiredBytes = int64_t{32} << 20;  // freed memory that is not reused yet
constexpr size_t kKeptRetired = 4096;

// Never destroyed: tensors in statics outlive every other static.
struct Memory {
  std::mutex mutex;
  std::map<const char*, std::shared_ptr<SimBlock>> blocks;  // by first byte, live and retired
  std::deque<std::shared_ptr<SimBlock>> retired;
  int64_t retired_bytes = 0;
  uint64_t last_id = 0;
  std::map<int, int64_t> limits;

  std::mutex host_mutex;
  std::list<std::shared_ptr<SimHostCopy>> host_copies;
};

Memory& memory() {
  static auto* const instance = new Memory;
  return *instance;
}

struct Seed {
  std::atomic<uint64_t> value{1};
  std::atomic<uint64_t> version{0};
  Seed() {
    if (const char* text = std::getenv("MEDFUSION_SIM_SEED")) value = std::strtoull(text, nullptr, 10);
  }
};

Seed& seed() {
  static Seed instance;
  return instance;
}

// The guards of a block: before its memory and after it.
std::array<std::pair<char*, int64_t>, 2> guards(const SimBlock& block) {
  char* const end = block.begin + block.bytes;
  return {{{block.raw, block.begin - block.raw}, {end, block.raw + block.raw_bytes - end}}};
}

bool is_guard_intact(const char* begin, int64_t bytes) {
  return std::all_of(begin, begin + bytes,
                     [](char byte) { return static_cast<unsigned char>(byte) == kGuardByte; });
}

void count(const SimHostCopy& copy, int64_t by) {
  if (copy.to_host) core::host_copies_pending += by;
  core::host_memory_uses += by;
}

void check_not_lost(const SimHostCopy& copy) {
  if (copy.lost) {
    throw Error(fmt::format("sim: the host freed the {} of {} ({} bytes) before {}",
                            copy.to_host ? "destination" : "source", copy.use.what, copy.bytes,
                            copy.to_host ? "its stream was synchronized" : "its stream had run it"));
  }
}

void check_access(const void* pointer, int64_t bytes) {
  const std::lock_guard lock(memory().host_mutex);
  for (const auto& copy : memory().host_copies) {
    if (copy->to_host && !copy->lost && copy->overlaps(pointer, bytes)) {
      throw Error(fmt::format(
          "sim: host access to the destination of {} ({} bytes) before its stream was synchronized",
          copy->use.what, copy->bytes));
    }
  }
}

void note_free(const void* pointer, int64_t bytes) noexcept {
  const std::lock_guard lock(memory().host_mutex);
  for (const auto& copy : memory().host_copies) {
    if (copy->overlaps(pointer, bytes)) copy->lost = true;
  }
}

[[maybe_unused]] const bool registered = [] {
  core::host_memory_checks = {check_access, note_free};
  return true;
}();

}  // namespace

std::shared_ptr<SimBlock> make_sim_block(int64_t bytes, uint64_t owner) {
  const int64_t raw_bytes = kGuard + (bytes + kAlignment - 1) / kAlignment * kAlignment + kGuard;
  char* const raw = static_cast<char*>(std::aligned_alloc(kAlignment, static_cast<size_t>(raw_bytes)));
  if (raw == nullptr) return nullptr;
  auto block = std::make_shared<SimBlock>();
  block->begin = raw + kGuard;
  block->bytes = bytes;
  block->owner = owner;
  block->raw = raw;
  block->raw_bytes = raw_bytes;
  std::memset(block->begin, kFreshByte, static_cast<size_t>(bytes));
  for (const auto& [begin, size] : guards(*block)) {
    std::memset(begin, kGuardByte, static_cast<size_t>(size));
    ASAN_POISON_MEMORY_REGION(begin, static_cast<size_t>(size));
  }
  const std::lock_guard lock(memory().mutex);
  block->id = ++memory().last_id;
  memory().blocks[block->begin] = block;
  return block;
}

std::shared_ptr<SimBlock> find_sim_block(const void* pointer) {
  const char* const address = static_cast<const char*>(pointer);
  const std::lock_guard lock(memory().mutex);
  auto next = memory().blocks.upper_bound(address);
  if (next == memory().blocks.begin()) return nullptr;
  const auto& block = std::prev(next)->second;
  return address <= block->begin + block->bytes ? block : nullptr;
}

std::shared_ptr<const SimAllocation> find_sim_allocation(const void* pointer) {
  return find_sim_block(pointer);
}

void check_sim_guards(SimBlock& block, const std::string& what) {
  if (block.freed) return;
  const char* side = nullptr;
  for (const auto& [begin, size] : guards(block)) {
    ASAN_UNPOISON_MEMORY_REGION(begin, static_cast<size_t>(size));
    if (!is_guard_intact(begin, size)) {
      side = begin < block.begin ? "before" : "after";
      std::memset(begin, kGuardByte, static_cast<size_t>(size));  // one report per fault
    }
    ASAN_POISON_MEMORY_REGION(begin, static_cast<size_t>(size));
  }
  if (side != nullptr) {
    throw Error(fmt::format("sim: {}: memory {} allocation {} ({} bytes) was overwritten", what, side,
                            block.id, block.bytes));
  }
}

void retire_sim_block(const std::shared_ptr<SimBlock>& block) {
  const std::lock_guard lock(memory().mutex);
  block->freed = true;
  std::memset(block->begin, kFreshByte, static_cast<size_t>(block->bytes));
  ASAN_POISON_MEMORY_REGION(block->raw, static_cast<size_t>(block->raw_bytes));
  memory().retired.push_back(block);
  memory().retired_bytes += block->raw_bytes;
  while (memory().retired_bytes > kKeptRetiredBytes || memory().retired.size() > kKeptRetired) {
    const std::shared_ptr<SimBlock> oldest = memory().retired.front();
    memory().retired.pop_front();
    memory().retired_bytes -= oldest->raw_bytes;
    memory().blocks.erase(oldest->begin);
    ASAN_UNPOISON_MEMORY_REGION(oldest->raw, static_cast<size_t>(oldest->raw_bytes));
    std::free(oldest->raw);
  }
}

uint64_t sim_seed() { return seed().value; }
void set_sim_seed(uint64_t value) {
  seed().value = value;
  ++seed().version;
}
uint64_t sim_seed_version() { return seed().version; }

int64_t sim_memory_limit(int index) {
  const std::lock_guard lock(memory().mutex);
  const auto found = memory().limits.find(index);
  return found == memory().limits.end() ? 0 : found->second;
}
void set_sim_memory_limit(int index, int64_t bytes) {
  const std::lock_guard lock(memory().mutex);
  memory().limits[index] = bytes;
}

void add_sim_host_copy(const std::shared_ptr<SimHostCopy>& copy) {
  const std::lock_guard lock(memory().host_mutex);
  memory().host_copies.push_back(copy);
  count(*copy, 1);
}

void end_sim_host_copy(const std::shared_ptr<SimHostCopy>& copy) {
  const std::lock_guard lock(memory().host_mutex);
  if (std::erase(memory().host_copies, copy) > 0) count(*copy, -1);
  check_not_lost(*copy);
}

std::vector<std::shared_ptr<SimHostCopy>> sim_host_copies(uint64_t owner, const void* host, int64_t bytes,
                                                          bool to_host) {
  std::vector<std::shared_ptr<SimHostCopy>> found;
  if (core::host_memory_uses == 0) return found;
  const std::lock_guard lock(memory().host_mutex);
  for (const auto& copy : memory().host_copies) {
    if (copy->owner == owner && copy->to_host == to_host && !copy->lost && copy->overlaps(host, bytes)) {
      found.push_back(copy);
    }
  }
  return found;
}

void deliver_sim_host_copies(uint64_t owner, const SimClock& clock) {
  if (core::host_copies_pending == 0) return;
  std::list<std::shared_ptr<SimHostCopy>> done;
  const std::lock_guard lock(memory().host_mutex);
  auto& copies = memory().host_copies;
  for (auto copy = copies.begin(); copy != copies.end();) {
    const auto here = copy++;
    if ((*here)->owner != owner || !(*here)->to_host || !(*here)->use.known_to(clock)) continue;
    done.splice(done.end(), copies, here);
  }
  for (const auto& copy : done) {
    if (copy->arrived && !copy->lost) std::memcpy(copy->host, copy->staged.data(), copy->staged.size());
    count(*copy, -1);  // last: a thread that sees 0 reads its memory without the lock
  }
  for (const auto& copy : done) check_not_lost(*copy);
}

void forget_sim_host_copies(uint64_t owner) {
  const std::lock_guard lock(memory().host_mutex);
  std::erase_if(memory().host_copies, [&](const auto& copy) {
    if (copy->owner == owner) count(*copy, -1);
    return copy->owner == owner;
  });
}

}  // namespace medfusion::simulator
