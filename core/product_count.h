// How many multiply-adds a forward pass takes.
#pragma once

#include <cstdint>
#include <utility>

namespace medfusion::core {

// While one lives, it counts the multiply-adds of the convolutions, linear layers, matrix products and
// attentions (both of their products) that this thread computes forwards. Sums, norms and activations do not
// count. The innermost one counts.
class ProductCount {
 public:
  ProductCount() : outer_(std::exchange(current(), this)) {}
  ~ProductCount() { current() = outer_; }
  ProductCount(const ProductCount&) = delete;
  ProductCount& operator=(const ProductCount&) = delete;

  int64_t multiply_adds() const { return count_; }
  // For the operations: `outputs` numbers, each a sum of so many products.
  static void add(int64_t outputs, int64_t products) {
    if (current() != nullptr) current()->count_ += outputs * products;
  }

 private:
  static ProductCount*& current() {
    thread_local ProductCount* counter = nullptr;
    return counter;
  }

  ProductCount* const outer_;
  int64_t count_ = 0;
};

}  // namespace medfusion::core
