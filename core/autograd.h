// Reverse-mode differentiation: a tape of closures made where the forward ran.
// A Variable pairs a value with its place in the graph. The graph holds no values of its own: a node keeps
// only the tensors its closure captured.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace medfusion::core {

class Node;

// What the graph knows of one value: its gradient and who produced it.
struct GradientState {
  Shape shape;
  DType dtype = DType::f32;
  Tensor gradient;  // undefined until something is accumulated, for leaves: the persistent buffer
  std::shared_ptr<Node> producer;  // null for leaves
  bool frozen = false;             // a leaf that nobody wants the gradient of any more
};

// The gradients of an operation's inputs, as its backward closure sees them.
class InputGradients {
 public:
  explicit InputGradients(std::span<const std::shared_ptr<GradientState>> states) : states_(states) {}
  // Whether anyone wants the gradient of input i; skip its computation otherwise.
  bool needed(size_t i) const { return states_[i] != nullptr; }
  // Memory for it, like a tensor of the input's shape and dtype; undefined where nobody wants it.
  Tensor room(size_t i, const Tensor& like) const { return needed(i) ? Tensor::empty_like(like) : Tensor(); }
  // Adds `gradient` to the gradient of input i where anyone wants it; its shape and dtype must be those of
  // the input. An owned, contiguous gradient becomes the buffer where none exists yet: do not write to it
  // afterwards.
  void accumulate(size_t i, const Tensor& gradient) const;
  size_t size() const { return states_.size(); }

 private:
  std::span<const std::shared_ptr<GradientState>> states_;
};

using Backward = std::function<void(const Tensor& grad_output, const InputGradients& grad_inputs)>;

class Variable {
 public:
  Variable() = default;
  // A constant, or with requires_grad a leaf whose gradient buffer exists, zeroed, from the start.
  explicit Variable(Tensor value, bool requires_grad = false);
  // The result of an operation. Where gradients are off or no input needs one, the closure is dropped.
  static Variable result(const char* operation, Tensor value, std::initializer_list<Variable> inputs,
                         Backward backward);
  static Variable result(const char* operation, Tensor value, const std::vector<Variable>& inputs,
                         Backward backward);

  bool defined() const { return value_.defined(); }
  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  DType dtype() const { return value_.dtype(); }
  int64_t size(int i) const { return value_.size(i); }
  int rank() const { return value_.rank(); }
  Device device() const { return value_.device(); }
  bool requires_grad() const { return state_ != nullptr && !state_->frozen; }
  // The gradient: of a leaf its buffer; undefined for others outside backward, and for constants.
  Tensor gradient() const { return state_ ? state_->gradient : Tensor(); }
  // Makes `buffer` (same shape and dtype) the gradient buffer of this leaf, e.g. a slice of one flat buffer.
  void set_gradient_buffer(const Tensor& buffer) const;
  // Makes this leaf, and every copy of it, a constant: no operation records it any more, and its gradient
  // buffer is given back.
  void freeze() const;
  // The same value outside the graph.
  Variable detach() const { return Variable(value_); }

  // Back-propagates from this variable. grad_output defaults to 1 for a single element. The graph is
  // consumed: the closures and the gradients of intermediate results are released as soon as they are used.
  void backward(const Tensor& grad_output = {}) const;

 private:
  Tensor value_;
  std::shared_ptr<GradientState> state_;
};

// While one of these lives, operations on this thread record nothing.
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool previous_;
};
bool gradients_enabled();

// While one of these lives, it is shown what operations of this thread compute, those inside composed ones
// included. Only the newest of a thread is shown anything. What it throws ends the pass.
class OperationObserver {
 public:
  OperationObserver();
  virtual ~OperationObserver();
  OperationObserver(const OperationObserver&) = delete;
  OperationObserver& operator=(const OperationObserver&) = delete;

  // An operation has given `value`. `number` counts the operations that are recorded.
  virtual void forward(const char* operation, uint64_t number, const Tensor& value,
                       const std::vector<Variable>& inputs) = 0;
  // The backward of that operation has added to the gradients of its inputs; null: nobody wants that one.
  virtual void backward(const char* operation, uint64_t number,
                        std::span<const std::shared_ptr<GradientState>> inputs) = 0;

 private:
  OperationObserver* previous_;
};

// How gradients add up on a device: to += from, f32, f64 or bf16, same shape, queued on the current stream.
// Set by kernels.
using DeviceAdd = void (*)(const View& to, const View& from);
void set_device_add(DeviceType type, DeviceAdd add);

}  // namespace medfusion::core
