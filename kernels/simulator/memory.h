// Pointers of device code that check every access: Global<T> into an allocation of the sim device, Shared<T>
// into an array in the block's shared memory. Compiled by nvcc both are plain pointers
// (kernels/gpu/device.cuh).
#pragma once

#include <fmt/core.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/runtime.h"
#include "kernels/simulator/block.h"
#include "kernels/simulator/device_memory.h"

namespace medfusion::simulator {

// An index that knows the line it was written in.
struct At {
  int64_t value;
  Site site;
  template <std::integral I>
  constexpr At(I i, Site s = Site::current()) : value(static_cast<int64_t>(i)), site(s) {}
};

// Notes every Global that the calling thread copies while it lives: copying a launch's arguments tells what
// memory they point to, however deep in them.
class CopiedGlobals {
 public:
  CopiedGlobals() : before_(std::exchange(noting, this)) {}
  ~CopiedGlobals() { noting = before_; }
  CopiedGlobals(const CopiedGlobals&) = delete;
  CopiedGlobals& operator=(const CopiedGlobals&) = delete;

  std::vector<core::Access> accesses;
  inline static thread_local constinit CopiedGlobals* noting = nullptr;

 private:
  CopiedGlobals* const before_;
};

template <class T>
class Global {
 public:
  using Element = std::remove_const_t<T>;

  Global(const Global& other) : pointer_(other.pointer_), allocation_(other.allocation_) {
    if (CopiedGlobals::noting != nullptr && pointer_ != nullptr) [[unlikely]] {
      CopiedGlobals::noting->accesses.push_back({pointer_, !std::is_const_v<T>});
    }
  }
  Global& operator=(const Global&) = default;

  Global(std::nullptr_t = nullptr) {}
  // Host code: finds the allocation, which must be the sim device's. Launches keep it alive.
  Global(T* pointer) : pointer_(pointer) {
    if (pointer == nullptr) return;
    allocation_ = simulator::find_sim_allocation(pointer).get();
    MEDFUSION_CHECK(allocation_ != nullptr,
                    "simulator: a kernel got a pointer that is not memory of the device");
  }
  Global(T* pointer, const simulator::SimAllocation* allocation)
      : pointer_(pointer), allocation_(allocation) {}
  operator Global<const T>() const requires(!std::is_const_v<T>) { return {pointer_, allocation_}; }

  T& operator[](At i) const { return *check(i, 1); }
  T& operator*() const = delete;  // no line to report: write p[0]
  Global operator+(int64_t offset) const { return {pointer_ + offset, allocation_}; }
  Global& operator+=(int64_t offset) { return pointer_ += offset, *this; }
  explicit operator bool() const { return pointer_ != nullptr; }
  bool operator==(std::nullptr_t) const { return pointer_ == nullptr; }
  // The address, for alignment tests; not to be read through.
  uint64_t address() const { return reinterpret_cast<uint64_t>(pointer_); }
  T* pointer() const { return pointer_; }
  template <class U>
  Global<U> as() const {
    return {reinterpret_cast<U*>(pointer_), allocation_};
  }

  // Whether element i lies in the allocation, and that is still there.
  bool reachable(int64_t i) const {
    const int64_t offset = reinterpret_cast<const char*>(pointer_ + i) - allocation_->begin;
    return offset >= 0 && offset + static_cast<int64_t>(sizeof(T)) <= allocation_->bytes &&
           !allocation_->freed;
  }

  // `count` elements from i on, as one access of that many bytes, aligned to it.
  T* check(At i, int64_t count) const {
    Block& block = Block::current();
    if (allocation_ == nullptr) block.fault(i.site, "access through a null pointer");
    const auto* at = reinterpret_cast<const char*>(pointer_ + i.value);
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    const int64_t offset = at - allocation_->begin;
    if (offset < 0 || offset + bytes > allocation_->bytes) {
      block.fault(i.site,
                  fmt::format("out-of-bounds global access: index {}, bytes [{}, {}) of an allocation of {}",
                              i.value, offset, offset + bytes, allocation_->bytes));
    }
    if (allocation_->freed)
      block.fault(i.site, "global access after the stream-ordered free of the allocation");
    if (reinterpret_cast<uint64_t>(at) % static_cast<uint64_t>(bytes) != 0) {
      block.fault(i.site, fmt::format("misaligned global access of {} bytes at address ending in 0x{:x}",
                                      bytes, reinterpret_cast<uint64_t>(at) % 256));
    }
    return pointer_ + i.value;
  }

 private:
  T* pointer_ = nullptr;
  const simulator::SimAllocation* allocation_ = nullptr;
};

template <class T>
class Shared;

// One element of shared memory; reading and writing it are told apart. Not to be kept: use `const T v =
// s[i]`.
template <class T>
class SharedReference {
 public:
  SharedReference(T* at, Site site) : at_(at), site_(site) {}
  SharedReference(const SharedReference&) = default;
  operator T() const {
    Block::current().shared_read(at_, sizeof(T), site_);
    return *at_;
  }
  const SharedReference& operator=(T value) const {
    Block::current().shared_write(at_, sizeof(T), site_);
    *at_ = value;
    return *this;
  }
  const SharedReference& operator=(const SharedReference& other) const {
    return *this = static_cast<T>(other);
  }
  const SharedReference& operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
  const SharedReference& operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
  const SharedReference& operator*=(T value) const { return *this = static_cast<T>(*this) * value; }

 private:
  T* at_;
  Site site_;
};

template <class T>
class Shared {
 public:
  using Element = T;
  Shared() = default;
  Shared(T* pointer, T* begin, T* end) : pointer_(pointer), begin_(begin), end_(end) {}

  SharedReference<T> operator[](At i) const { return {check(i, 1), i.site}; }
  Shared operator+(int64_t offset) const { return {pointer_ + offset, begin_, end_}; }
  Shared& operator+=(int64_t offset) { return pointer_ += offset, *this; }
  T* pointer() const { return pointer_; }

  T* check(At i, int64_t count) const {
    Block& block = Block::current();
    T* const at = pointer_ + i.value;
    if (at < begin_ || at + count > end_) {
      block.fault(i.site,
                  fmt::format("out-of-bounds shared access: element {} (and {} more) of an array of {}",
                              at - begin_, count - 1, end_ - begin_));
    }
    const auto bytes = static_cast<uint64_t>(count) * sizeof(T);
    if (reinterpret_cast<uint64_t>(at) % bytes != 0) {
      block.fault(i.site, fmt::format("misaligned shared access of {} bytes", bytes));
    }
    return at;
  }

 private:
  T* pointer_ = nullptr;
  T* begin_ = nullptr;
  T* end_ = nullptr;
};

// Hands out the dynamic shared memory of the launch, from its beginning, aligned to 16 bytes (or what is
// asked). Every thread makes the same calls.
class SharedMemory {
 public:
  template <class T>
  Shared<T> take(int64_t count, int64_t alignment = 16, Site site = Site::current()) {
    Block& block = Block::current();
    next_ = (next_ + alignment - 1) / alignment * alignment;
    const int64_t end = next_ + count * static_cast<int64_t>(sizeof(T));
    if (end > block.shared_bytes()) {
      block.fault(site, fmt::format("the kernel takes {} bytes of shared memory, the launch gave {}", end,
                                    block.shared_bytes()));
    }
    T* const begin = reinterpret_cast<T*>(block.shared() + next_);
    next_ = end;
    return {begin, begin, begin + count};
  }

 private:
  int64_t next_ = 0;
};

}  // namespace medfusion::simulator
