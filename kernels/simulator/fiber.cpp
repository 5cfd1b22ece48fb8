#include "kernels/simulator/fiber.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define MEDFUSION_FIBER_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define MEDFUSION_FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEDFUSION_FIBER_ASAN 1
#elif __has_feature(thread_sanitizer)
#define MEDFUSION_FIBER_TSAN 1
#endif
#endif
#if defined(MEDFUSION_FIBER_ASAN)
#include <sanitizer/common_interface_defs.h>
#elif defined(MEDFUSION_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace medfusion::simulator {
namespace {

#ifdef MEDFUSION_FIBER_ASAN
constexpr size_t kStackBytes = size_t{256} << 10;
#else
constexpr size_t kStackBytes = size_t{64} << 10;
#endif

}  // namespace

// Before a switch to the stack [bottom, bottom + size), and after one from it.
void Fiber::enter([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                  [[maybe_unused]] size_t size) {
#ifdef MEDFUSION_FIBER_ASAN
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
#endif
}
void Fiber::leave([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                  [[maybe_unused]] size_t* size) {
#ifdef MEDFUSION_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, bottom, size);
#endif
}
// Right before a switch, for ThreadSanitizer.
void Fiber::announce([[maybe_unused]] void* next) {
#ifdef MEDFUSION_FIBER_TSAN
  __tsan_switch_to_fiber(next, 0);
#endif
}

Fiber::Fiber() {
#ifdef MEDFUSION_FIBER_TSAN
  tsan_own_ = __tsan_create_fiber(0);
#endif
  boost::context::protected_fixedsize_stack allocator(kStackBytes);
  const boost::context::stack_context stack = allocator.allocate();
  stack_size_ = stack.size;
  stack_bottom_ = static_cast<char*>(stack.sp) - stack.size;
  context_ = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), allocator,
      [this](boost::context::fiber&& caller) {
        leave(nullptr, &caller_bottom_, &caller_size_);
        caller_ = std::move(caller);
        loop();
        enter(nullptr, caller_bottom_, caller_size_);  // null: this stack is not used again
        announce(tsan_caller_);
        return std::move(caller_);
      });
}

Fiber::~Fiber() {
  quit_ = true;
  resume();
#ifdef MEDFUSION_FIBER_TSAN
  __tsan_destroy_fiber(tsan_own_);
#endif
}

void Fiber::loop() {
  while (!quit_) {
    (*body_)();
    body_ = nullptr;
    yield();
  }
}

void Fiber::start(const std::function<void()>* body) { body_ = body; }

void Fiber::resume() {
  void* fake_stack = nullptr;
  enter(&fake_stack, stack_bottom_, stack_size_);
#ifdef MEDFUSION_FIBER_TSAN
  tsan_caller_ = __tsan_get_current_fiber();
#endif
  announce(tsan_own_);
  context_ = std::move(context_).resume();
  leave(fake_stack, nullptr, nullptr);
}

void Fiber::yield() {
  enter(&fake_stack_, caller_bottom_, caller_size_);
  announce(tsan_caller_);
  caller_ = std::move(caller_).resume();
  leave(fake_stack_, &caller_bottom_, &caller_size_);
}

}  // namespace medfusion::simulator
