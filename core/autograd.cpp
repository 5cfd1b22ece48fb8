#include "core/autograd.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <queue>
#include <unordered_set>
#include <utility>

#include "core/threads.h"

namespace medfusion::core {

class Node {
 public:
  Node(const char* operation, uint64_t order, std::vector<std::shared_ptr<GradientState>> inputs,
       Backward backward, std::weak_ptr<GradientState> output)
      : operation_(operation),
        order_(order),
        inputs_(std::move(inputs)),
        backward_(std::move(backward)),
        output_(std::move(output)) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Long chains are taken apart in a loop, not by recursion.
  ~Node() {
    std::vector<std::shared_ptr<GradientState>> pending = std::move(inputs_);
    while (!pending.empty()) {
      std::shared_ptr<GradientState> state = std::move(pending.back());
      pending.pop_back();
      if (!state || state.use_count() != 1 || !state->producer || state->producer.use_count() != 1) continue;
      auto& upstream = state->producer->inputs_;
      std::move(upstream.begin(), upstream.end(), std::back_inserter(pending));
      upstream.clear();
    }
  }

  const char* operation() const { return operation_; }
  uint64_t order() const { return order_; }
  const std::vector<std::shared_ptr<GradientState>>& inputs() const { return inputs_; }
  std::shared_ptr<GradientState> output() const { return output_.lock(); }

  void run(const Tensor& grad_output) {
    MEDFUSION_CHECK(backward_ != nullptr, "backward: {} was back-propagated already; run the forward again",
                    operation_);
    const Backward backward = std::exchange(backward_, nullptr);
    backward(grad_output, InputGradients(inputs_));
  }

 private:
  const char* operation_;
  uint64_t order_;
  std::vector<std::shared_ptr<GradientState>> inputs_;
  Backward backward_;
  std::weak_ptr<GradientState> output_;
};

namespace {

thread_local bool enabled = true;
thread_local uint64_t next_order = 0;
thread_local OperationObserver* observer = nullptr;

std::array<std::atomic<DeviceAdd>, kMaxDeviceTypes> device_adds{};

template <class T>
void add_on_host(const View& to, const View& from) {
  const bool flat = to.contiguous() && from.contiguous();
  parallel_for(0, to.numel(), 1 << 15, [&](int64_t first, int64_t last) {
    if (flat) {
      T* out = to.as<T>();
      const T* in = from.as<T>();
      for (int64_t i = first; i < last; ++i) out[i] += in[i];
    } else {
      for (int64_t i = first; i < last; ++i) element<T>(to, i) += element<T>(from, i);
    }
  });
}

void add_in_place(const View& to, const View& from) {
  if (to.device.type != DeviceType::cpu) {
    const DeviceAdd add = device_adds[to.device.type.number()];
    MEDFUSION_CHECK(add != nullptr, "gradient accumulation: no kernel for device {}",
                    name_of(to.device.type));
    add(to, from);
  } else if (to.dtype == DType::f64) {
    add_on_host<double>(to, from);
  } else {
    add_on_host<float>(to, from);
  }
}

void accumulate_into(GradientState& state, const Tensor& gradient) {
  MEDFUSION_CHECK(gradient.shape() == state.shape && gradient.dtype() == state.dtype,
                  "gradient accumulation: expected {} {}, got {} {}", name_of(state.dtype), state.shape.str(),
                  name_of(gradient.dtype()), gradient.shape().str());
  if (!state.gradient.defined()) {
    state.gradient = gradient.to_contiguous();
    return;
  }
  // A first gradient may be shared with another input of the same operation: adding must not change that one
  // too.
  if (state.producer && !state.gradient.exclusive()) state.gradient = state.gradient.clone();
  MEDFUSION_CHECK(gradient.device() == state.gradient.device(),
                  "gradient accumulation: expected device {}:{}, got {}:{}",
                  name_of(state.gradient.device().type), state.gradient.device().index,
                  name_of(gradient.device().type), gradient.device().index);
  add_in_place(state.gradient.view(), gradient.view());
}

}  // namespace

void InputGradients::accumulate(size_t i, const Tensor& gradient) const {
  MEDFUSION_CHECK(i < states_.size(), "gradient accumulation: input {} of {}", i, states_.size());
  if (states_[i]) accumulate_into(*states_[i], gradient);
}

Variable::Variable(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  MEDFUSION_CHECK(value_.dtype() == DType::f32 || value_.dtype() == DType::f64,
                  "a variable that requires a gradient must be f32 or f64, got {}", name_of(value_.dtype()));
  state_ = std::make_shared<GradientState>();
  state_->shape = value_.shape();
  state_->dtype = value_.dtype();
  state_->gradient = Tensor::zeros(value_.shape(), value_.dtype(), value_.device());
}

Variable Variable::result(const char* operation, Tensor value, std::initializer_list<Variable> inputs,
                          Backward backward) {
  return result(operation, std::move(value), std::vector<Variable>(inputs), std::move(backward));
}

Variable Variable::result(const char* operation, Tensor value, const std::vector<Variable>& inputs,
                          Backward backward) {
  Variable variable(std::move(value));
  if (observer != nullptr) observer->forward(operation, next_order, variable.value_, inputs);
  const bool any =
      std::any_of(inputs.begin(), inputs.end(), [](const Variable& v) { return v.requires_grad(); });
  if (!enabled || !any) return variable;
  variable.state_ = std::make_shared<GradientState>();
  variable.state_->shape = variable.value_.shape();
  variable.state_->dtype = variable.value_.dtype();
  std::vector<std::shared_ptr<GradientState>> states;
  states.reserve(inputs.size());
  for (const Variable& input : inputs) states.push_back(input.requires_grad() ? input.state_ : nullptr);
  variable.state_->producer = std::make_shared<Node>(operation, next_order++, std::move(states),
                                                     std::move(backward), std::weak_ptr(variable.state_));
  return variable;
}

void Variable::freeze() const {
  MEDFUSION_CHECK(state_ && !state_->producer, "freeze: not a leaf that requires a gradient");
  state_->frozen = true;
  state_->gradient = Tensor();
}

void Variable::set_gradient_buffer(const Tensor& buffer) const {
  MEDFUSION_CHECK(state_ && !state_->producer, "set_gradient_buffer: not a leaf that requires a gradient");
  MEDFUSION_CHECK(buffer.shape() == state_->shape && buffer.dtype() == state_->dtype,
                  "set_gradient_buffer: expected {} {}, got {} {}", name_of(state_->dtype),
                  state_->shape.str(), name_of(buffer.dtype()), buffer.shape().str());
  state_->gradient = buffer;
}

void Variable::backward(const Tensor& grad_output) const {
  MEDFUSION_CHECK(state_ && state_->producer,
                  "backward: this variable is not the result of a recorded operation");
  if (grad_output.defined()) {
    accumulate_into(*state_, grad_output.clone());
  } else {
    MEDFUSION_CHECK(value_.numel() == 1, "backward: shape {} needs a grad_output", shape().str());
    accumulate_into(*state_, Tensor::full(shape(), 1.0, dtype(), value_.device()));
  }
  // Operations are numbered as they run, so the largest number first is a topological order.
  const auto later = [](const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) {
    return a->order() < b->order();
  };
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, decltype(later)> ready(
      later);
  std::unordered_set<const Node*> seen{state_->producer.get()};
  ready.push(state_->producer);
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = ready.top();
    ready.pop();
    const std::shared_ptr<GradientState> output = node->output();
    if (!output || !output->gradient.defined()) continue;  // nothing depends on it
    const Tensor gradient = std::exchange(output->gradient, Tensor());
    node->run(gradient);
    if (observer != nullptr) observer->backward(node->operation(), node->order(), node->inputs());
    for (const auto& input : node->inputs()) {
      if (input && input->producer && seen.insert(input->producer.get()).second) ready.push(input->producer);
    }
  }
}

void set_device_add(DeviceType type, DeviceAdd add) { device_adds[type.number()] = add; }

NoGradGuard::NoGradGuard() : previous_(std::exchange(enabled, false)) {}
NoGradGuard::~NoGradGuard() { enabled = previous_; }
bool gradients_enabled() { return enabled; }

OperationObserver::OperationObserver() : previous_(std::exchange(observer, this)) {}
OperationObserver::~OperationObserver() { observer = previous_; }

}  // namespace medfusion::core
