// A thread of execution that is switched by hand: one simulated GPU thread runs in each.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>

namespace medfusion::simulator {

// Runs a function on a stack of its own, with a guard page below it; resume() and yield() go back and forth.
// The stack is kept and reused from one run to the next. Under AddressSanitizer and ThreadSanitizer every
// switch is announced.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Sets what the next resume() calls; the fiber must be idle. The body must not throw.
  void start(const std::function<void()>* body);
  // Continues the body until it yields or returns. Called outside of any fiber.
  void resume();
  // Goes back to the caller of resume(). Called inside this fiber.
  void yield();
  bool idle() const { return body_ == nullptr; }

 private:
  void loop();
  void enter(void** fake_stack, const void* bottom, size_t size);
  void leave(void* fake_stack, const void** bottom, size_t* size);
  void announce(void* next);

  const std::function<void()>* body_ = nullptr;
  bool quit_ = false;
  void* stack_bottom_ = nullptr;
  size_t stack_size_ = 0;
  const void* caller_bottom_ = nullptr;  // of the stack that called resume(), for AddressSanitizer
  size_t caller_size_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_own_ = nullptr;  // what ThreadSanitizer knows this fiber and its caller by
  void* tsan_caller_ = nullptr;
  boost::context::fiber caller_;
  boost::context::fiber context_;  // last: constructed when all else is
};

}  // namespace medfusion::simulator
