// One list of cases per operation feeds parity, gradient check, simulator and benchmark.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "core/tensor.h"
#include "kernels/registry.h"

namespace medfusion::kernels {

// How an input is filled. Draws are Philox of (seed, slot, index), equal in f32 and f64 (rounded to float
// first).
enum class Fill {
  normal,    // N(0, 1)
  uniform,   // [0, 1)
  positive,  // [0.5, 2)
  off_zero,  // N(0, 1) pushed at least 0.05 away from 0: for kinks there
  distinct,  // a random permutation of distinct values: for max
  index,     // integers in [0, limit)
  coin,      // 0 or 1
  ones,
  targets,  // 0, 1, or NaN (one in eight): labels, some unknown
  extreme,  // N(0, 1) with some +-inf
};

// How the tensor lies in memory.
enum class Layout {
  contiguous,
  channel_slice,  // a slice of a buffer with more channels (last dimension), starting off its first channel
  piece_slice,    // such a slice starting, and with rows, at multiples of 16 bytes
  middle_third,   // the second of three equal slices of the last dimension, as k lies in a tensor of q, k and
                  // v
  misaligned,     // contiguous, starting one element off an aligned address
};

struct Slot {
  std::string name;
  core::Shape shape;
  Fill fill = Fill::normal;              // of inputs
  bool differentiable = true;            // inputs: has a gradient; outputs: receives one
  core::DType dtype = core::DType::f32;  // f32 means "the precision of the run": f32, f64 or bf16
  Layout layout = Layout::contiguous;
  int64_t limit = 2;          // of Fill::index
  bool statistic = false;     // f32 where the precision of the run is bf16
  bool f32_gradient = false;  // inputs: the same of the gradient alone, which is held to bf16 nevertheless
  // A statistic that is made (an input: whose gradient is made) of what is stored in bf16: no better than it.
  bool of_stored = false;
};

// What the gradient of an input is like.
inline Slot gradient_slot(Slot slot) {
  slot.statistic |= slot.f32_gradient;
  return slot;
}

// Where the last dimension of the slot lies in that of its buffer.
struct SlotSlice {
  int64_t first, buffer;  // its first element; the size of the buffer's dimension
};
SlotSlice slice_of(const Slot& slot);

// The tensors of one run of a case. Outputs and gradients start NaN-filled, between guard zones.
class CaseTensors {
 public:
  core::Tensor& in(const std::string& name) { return find("in:" + name); }
  core::Tensor& out(const std::string& name) { return find("out:" + name); }
  core::Tensor& grad_out(const std::string& name) { return find("grad_out:" + name); }
  core::Tensor& grad_in(const std::string& name) { return find("grad_in:" + name); }
  void set(const std::string& key, core::Tensor tensor) { tensors_[key] = std::move(tensor); }
  // The view that a text names, such as "in:x", "out:y", "grad_out:y" or "grad_in:x". "in:x^T" has its last
  // two dimensions exchanged; "in:x?" is undefined where the case has no such slot.
  core::View view(std::string text);
  // Where the tensors lie; all on one device.
  core::DeviceType device() const { return device_.type; }
  void set_device(core::Device device) { device_ = device; }
  const std::map<std::string, core::Tensor>& all() const { return tensors_; }

 private:
  core::Tensor& find(const std::string& key) {
    const auto found = tensors_.find(key);
    MEDFUSION_CHECK(found != tensors_.end(), "case: no tensor {}", key);
    return found->second;
  }
  std::map<std::string, core::Tensor> tensors_;
  core::Device device_;
};

struct OpCase {
  std::string operation;  // "softmax"
  std::string name;       // "rows=33 width=7"
  std::vector<Slot> inputs;
  std::vector<Slot> outputs;  // also what forward saves for backward (differentiable = false)
  // Build the argument struct from t.in, t.out (and t.grad_out, t.grad_in) and call dispatch(args,
  // t.device(), variant). A backward writes every grad_in of a differentiable input in full, or accumulates
  // where its contract says so (then the case zeroes it first).
  std::function<void(CaseTensors& t, const std::string& variant)> forward;
  std::function<void(CaseTensors& t, const std::string& variant)> backward;  // may be empty
  // What comes before each call, or after a backward, and is no part of the operation, such as copies to work
  // in and of their parts; may be empty. Benchmarks do not time it.
  std::function<void(CaseTensors&t)> prepare_forward, prepare_backward, finish_backward;
  double tolerance = 1.0;       // multiplies the table's tolerance; not 1 needs a reason in a comment
  double flops = 0.0;           // of forward
  double bytes = 0.0;           // least traffic of forward
  double backward_flops = 2.0;  // of backward, in those of forward: two products for each
  double backward_bytes = 2.0;  // likewise
  bool gradcheck = true;  // false where the forward is not smooth or random, with the reason in a comment
  bool bench = false;     // a size worth timing; tests skip these
  // In bf16, parity is with the reference in bf16, which computes in f64 and rounds where variants store. For
  // cases with kinks behind what is stored: a rounding may turn a ReLU over, and then an element differs from
  // the one without roundings by its full size, however good the variant is.
  bool reference_in_bf16 = false;
};

// A forward or backward of a case: dispatches Args, whose fields these are in order; texts name views.
template <class Args, class... Fields>
auto runs(Fields... fields) {
  return [=](CaseTensors& t, const std::string& variant) {
    const auto value_of = [&](const auto& field) {
      if constexpr (std::is_convertible_v<decltype(field), std::string>) {
        return t.view(field);
      } else {
        return field;
      }
    };
    dispatch(Args{value_of(fields)...}, t.device(), variant);
  };
}

inline OpCase timed(OpCase c) {
  c.bench = true;
  return c;
}

// Forward or backward with what belongs around it.
inline void call_forward(const OpCase& c, CaseTensors& t, const std::string& variant) {
  if (c.prepare_forward) c.prepare_forward(t);
  c.forward(t, variant);
}
inline void call_backward(const OpCase& c, CaseTensors& t, const std::string& variant) {
  if (c.prepare_backward) c.prepare_backward(t);
  c.backward(t, variant);
  if (c.finish_backward) c.finish_backward(t);
}

// Cases register like variants: const RegisterCases cases([] { return std::vector<OpCase>{...}; });
struct RegisterCases {
  explicit RegisterCases(std::function<std::vector<OpCase>()> make);
};

// The cases of one operation, in order of registration.
std::vector<OpCase> cases_of(const std::string& operation);
std::vector<std::string> operations_with_cases();

}  // namespace medfusion::kernels
