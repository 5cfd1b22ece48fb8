#include "kernels/workshop/check.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

constexpr double kStep = 1e-5;
constexpr double kGradientTolerance =
    2e-7;  // of central differences in f64, relative to the largest gradient
// Of parity with f64 on the same inputs, relative to the largest magnitude of the output. f32: rounding of
// sums. bf16: eight roundings of 2^-9: of factors, of saved results and of the output, which may be a
// difference of larger values.
double parity_tolerance(DType precision) { return precision == DType::bf16 ? 8.0 / 512.0 : 2e-5; }
constexpr int64_t kGuard = 64;  // elements on either side of every tensor
constexpr int kGuardByte = 0xA5;

// A tensor between guard zones, in the layout of its slot.
struct Guarded {
  Tensor whole;  // u8 bytes on the host: the tensor and its guards
  Tensor tensor;
  Tensor device_whole,
      device_tensor;  // the same on the device of the run; those of the host where that is cpu

  void upload() const {
    if (device_whole.device() == core::Device{}) return;
    core::Runtime& runtime = core::runtime(device_whole.device());
    runtime.copy_to_device(device_whole.view().data, whole.view().data, whole.bytes(),
                           core::current_stream(device_whole.device()));
    runtime.synchronize(core::current_stream(device_whole.device()));
  }
  void download() const {
    if (device_whole.device() == core::Device{}) return;
    core::Runtime& runtime = core::runtime(device_whole.device());
    runtime.copy_to_host(whole.view().data, device_whole.view().data, whole.bytes(),
                         core::current_stream(device_whole.device()));
    runtime.synchronize(core::current_stream(device_whole.device()));
  }
};

Guarded make_guarded(const Slot& slot, DType dtype, core::Device device) {
  const int64_t element = core::size_of(dtype);
  Shape outer = slot.shape;
  const int last = slot.shape.rank() - 1;
  const SlotSlice slice = slice_of(slot);
  if (last >= 0) outer[last] = slice.buffer;
  const int64_t shift = slot.layout == Layout::misaligned ? 1 : 0;
  Guarded result;
  result.whole = Tensor::empty({(outer.numel() + 2 * kGuard + shift) * element}, DType::u8);
  std::fill_n(result.whole.data<uint8_t>(), result.whole.numel(), static_cast<uint8_t>(kGuardByte));
  const auto inside = [&](const Tensor& whole) {
    auto* first = static_cast<uint8_t*>(whole.view().data) + (kGuard + shift) * element;
    const Tensor tensor = Tensor::borrow(first, outer, dtype, whole.device());
    return last < 0 ? tensor : tensor.slice(last, slice.first, slice.first + slot.shape[last]);
  };
  result.tensor = inside(result.whole);
  result.device_whole =
      device == core::Device{} ? result.whole : Tensor::empty(result.whole.shape(), DType::u8, device);
  result.device_tensor = inside(result.device_whole);
  return result;
}

// True when every byte outside the tensor still holds the guard value.
bool guards_intact(const Guarded& guarded) {
  std::vector<bool> inside(static_cast<size_t>(guarded.whole.numel()), false);
  const auto* base = guarded.whole.data<uint8_t>();
  const core::View& view = guarded.tensor.view();
  const int64_t element = core::size_of(view.dtype);
  for (int64_t i = 0; i < view.numel(); ++i) {
    const int64_t offset = static_cast<const uint8_t*>(view.data) - base + view.offset(i) * element;
    std::fill_n(inside.begin() + offset, element, true);
  }
  for (int64_t i = 0; i < guarded.whole.numel(); ++i) {
    if (!inside[static_cast<size_t>(i)] && base[i] != kGuardByte) return false;
  }
  return true;
}

double draw(const Slot& slot, const core::Philox& philox, int64_t i, const std::vector<int64_t>& order) {
  const auto index = static_cast<uint64_t>(i);
  switch (slot.fill) {
    case Fill::normal:
      return philox.normal(index);
    case Fill::uniform:
      return philox.uniform(index);
    case Fill::positive:
      return 0.5 + 1.5 * static_cast<double>(philox.uniform(index));
    case Fill::off_zero: {
      const double value = philox.normal(index);
      return value + (value < 0 ? -0.05 : 0.05);
    }
    case Fill::distinct:
      return 0.01 * static_cast<double>(order[static_cast<size_t>(i)]) - 1.0;
    case Fill::index:
      return static_cast<double>(philox.word(index) % static_cast<uint64_t>(slot.limit));
    case Fill::coin:
      return philox.word(index) % 2;
    case Fill::ones:
      return 1.0;
    case Fill::targets: {
      const uint32_t word = philox.word(index) % 8;
      return word == 7 ? std::numeric_limits<double>::quiet_NaN() : word % 2;
    }
    case Fill::extreme: {
      const uint32_t word = philox.word(index + (uint64_t{1} << 40)) % 16;
      if (word == 0) return std::numeric_limits<double>::infinity();
      if (word == 1) return -std::numeric_limits<double>::infinity();
      return philox.normal(index);
    }
  }
  return 0.0;
}

}  // namespace

void fill_slot(const Slot& slot, const Tensor& tensor, uint64_t seed, uint64_t stream) {
  const core::Philox philox(seed, stream);
  std::vector<int64_t> order;
  if (slot.fill == Fill::distinct) {
    order.resize(static_cast<size_t>(tensor.numel()));
    std::iota(order.begin(), order.end(), int64_t{0});
    core::Generator(seed, stream).shuffle(order);
  }
  core::visit_dtype(tensor.dtype(), [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const auto value = static_cast<float>(draw(slot, philox, i, order));  // the same in f32 and f64
      core::element<T>(tensor.view(), i) = static_cast<T>(value);
    }
  });
}

namespace {

DType run_dtype(const Slot& slot, DType precision) {
  if (slot.dtype != DType::f32 || (slot.statistic && precision == DType::bf16)) return slot.dtype;
  return precision;
}

// Values of an f64 tensor as a run in `precision` gets them.
void round_values(const Tensor& tensor, DType precision) {
  if (precision != DType::bf16) return;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    auto& value = core::element<double>(tensor.view(), i);
    value = static_cast<float>(core::BFloat16(static_cast<float>(value)));
  }
}

class Run {
 public:
  // `inputs`: what an f64 run rounds its inputs to.
  Run(const OpCase& op_case, DType precision, uint64_t seed, core::Device device = {},
      DType inputs = DType::f32)
      : case_(op_case), precision_(precision), inputs_(inputs), seed_(seed), device_(device) {
    tensors_.set_device(device);
    uint64_t stream = 0;
    for (const Slot& slot : case_.inputs) {
      const Guarded& guarded = add("in:" + slot.name, slot, precision);
      fill(slot, guarded, stream++);
    }
  }

  CaseTensors& tensors() { return tensors_; }
  // On the host; of the last forward or backward.
  const Tensor& host(const std::string& key) const { return guarded_.at(key).tensor; }

  void forward(const std::string& variant) {
    for (const Slot& slot : case_.outputs) poison(add("out:" + slot.name, slot, precision_));
    call_forward(case_, tensors_, variant);
    download();
  }

  void backward(const std::string& variant) {
    uint64_t stream = 1000;
    for (const Slot& slot : case_.outputs) {
      if (!slot.differentiable) continue;
      Slot upstream = slot;
      upstream.fill = Fill::normal;
      const Guarded& guarded = add("grad_out:" + slot.name, upstream, precision_);
      fill(upstream, guarded, stream++);
    }
    for (const Slot& slot : case_.inputs) {
      if (slot.differentiable) poison(add("grad_in:" + slot.name, gradient_slot(slot), precision_));
    }
    call_backward(case_, tensors_, variant);
    download();
  }

  // sum over outputs of dot(grad_out, out)
  double objective() {
    double sum = 0.0;
    for (const Slot& slot : case_.outputs) {
      if (!slot.differentiable) continue;
      const Tensor& y = tensors_.out(slot.name);
      const Tensor& g = tensors_.grad_out(slot.name);
      for (int64_t i = 0; i < y.numel(); ++i) sum += y.at(i) * g.at(i);
    }
    return sum;
  }

  // A hash of the bits of every output and gradient.
  uint64_t digest() const {
    uint64_t hash = 0;
    for (const auto& [key, guarded] : guarded_) {
      if (key.starts_with("out:") || key.starts_with("grad_in:")) {
        hash = XXH64(guarded.whole.view().data, static_cast<size_t>(guarded.whole.bytes()), hash);
      }
    }
    return hash;
  }

  void check_guards(std::vector<std::string>& failures, const std::string& who) const {
    for (const auto& [name, guarded] : guarded_) {
      if (!guards_intact(guarded)) failures.push_back(fmt::format("{}: wrote outside {}", who, name));
    }
  }

 private:
  const Guarded& add(const std::string& key, const Slot& slot, DType precision) {
    Guarded guarded = make_guarded(slot, run_dtype(slot, precision), device_);
    tensors_.set(key, guarded.device_tensor);
    return guarded_[key] = std::move(guarded);
  }
  void fill(const Slot& slot, const Guarded& guarded, uint64_t stream) const {
    fill_slot(slot, guarded.tensor, seed_, stream);
    if (guarded.tensor.dtype() == DType::f64) round_values(guarded.tensor, run_dtype(slot, inputs_));
    guarded.upload();
  }
  static void poison(const Guarded& guarded) {
    const Tensor& tensor = guarded.tensor;
    if (core::is_floating(tensor.dtype())) tensor.fill(std::numeric_limits<double>::quiet_NaN());
    guarded.upload();
  }
  void download() const {
    for (const auto& [key, guarded] : guarded_) guarded.download();
  }

  const OpCase& case_;
  DType precision_, inputs_;
  uint64_t seed_;
  core::Device device_;
  CaseTensors tensors_;
  std::map<std::string, Guarded> guarded_;
};

// The largest finite magnitude, at least `floor`.
double magnitude(const Tensor& tensor, double floor) {
  double largest = floor;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const double value = std::abs(tensor.at(i));
    if (std::isfinite(value)) largest = std::max(largest, value);
  }
  return largest;
}

void compare(const Tensor& expected, const Tensor& actual, double tolerance, const std::string& what,
             std::vector<std::string>& failures) {
  const double scale = magnitude(expected, 1e-3);
  for (int64_t i = 0; i < expected.numel(); ++i) {
    const double e = expected.at(i);
    const double a = actual.at(i);
    const bool same = (std::isnan(e) && std::isnan(a)) || e == a || std::abs(e - a) <= tolerance * scale;
    if (!same) {
      failures.push_back(fmt::format("{}[{}]: expected {:.9g}, got {:.9g} (tolerance {:.2g} of {:.3g})", what,
                                     i, e, a, tolerance, scale));
      return;
    }
  }
}

// A variant may leave the backward to others, which then start from what it wrote.
bool leaves_backward(const std::string& operation, const std::string& variant, core::DeviceType device) {
  bool known = false;
  for (const VariantInfo& info : all_variants()) {
    if (info.operation != operation || info.name != variant || info.device != device) continue;
    if (info.direction != "forward") return false;
    known = true;
  }
  return known;
}

std::string label(const OpCase& op_case, const std::string& variant) {
  return fmt::format("{}/{} [{}]", op_case.operation, variant, op_case.name);
}

}  // namespace

std::vector<std::string> variants_of(const std::string& operation, core::DeviceType device) {
  std::vector<std::string> names;
  for (const VariantInfo& info : all_variants()) {
    const bool fits = info.operation == operation && info.device == device && info.name != "reference";
    if (fits && std::find(names.begin(), names.end(), info.name) == names.end()) names.push_back(info.name);
  }
  return names;
}

std::vector<std::string> check_gradients(const OpCase& op_case, const CheckOptions& options) {
  std::vector<std::string> failures;
  const std::string who = label(op_case, "reference");
  if (!op_case.gradcheck || !op_case.backward) return failures;
  try {
    Run run(op_case, DType::f64, options.seed);
    run.forward("reference");
    run.backward("reference");
    run.check_guards(failures, who);
    for (size_t slot_index = 0; slot_index < op_case.inputs.size(); ++slot_index) {
      const Slot& slot = op_case.inputs[slot_index];
      if (!slot.differentiable || slot.shape.numel() == 0) continue;
      const Tensor gradient = run.tensors().grad_in(slot.name);
      const double scale = magnitude(gradient, 1.0);
      const core::Philox pick(options.seed, 5000 + slot_index);
      const int64_t samples = std::min<int64_t>(options.gradient_samples, gradient.numel());
      for (int64_t s = 0; s < samples; ++s) {
        const int64_t i = samples == gradient.numel()
                              ? s
                              : static_cast<int64_t>(pick.word(static_cast<uint64_t>(s)) %
                                                     static_cast<uint64_t>(gradient.numel()));
        double& x = core::element<double>(run.tensors().in(slot.name).view(), i);
        const double original = x;
        x = original + kStep;
        call_forward(op_case, run.tensors(), "reference");
        const double above = run.objective();
        x = original - kStep;
        call_forward(op_case, run.tensors(), "reference");
        const double below = run.objective();
        x = original;
        const double numeric = (above - below) / (2 * kStep);
        const double analytic = gradient.at(i);
        if (!(std::abs(numeric - analytic) <= kGradientTolerance * op_case.tolerance * scale)) {
          failures.push_back(fmt::format("{}: gradient of {}[{}]: numeric {:.9g}, backward gave {:.9g}", who,
                                         slot.name, i, numeric, analytic));
          break;
        }
      }
    }
  } catch (const std::exception& error) {
    failures.push_back(fmt::format("{}: {}", who, error.what()));
  }
  return failures;
}

std::vector<std::string> check_parity(const OpCase& op_case, const std::string& variant,
                                      const CheckOptions& options, bool* supported) {
  std::vector<std::string> failures;
  if (supported != nullptr) *supported = true;
  const std::string who = label(op_case, variant);
  const auto tolerance = [&](const Slot& slot) {
    const DType dtype = slot.of_stored ? options.precision : run_dtype(slot, options.precision);
    return parity_tolerance(dtype) * op_case.tolerance;
  };
  try {
    Run actual(op_case, options.precision, options.seed, options.device);
    actual.forward(variant);
    const bool narrow = op_case.reference_in_bf16 && options.precision == DType::bf16;
    Run expected(op_case, narrow ? DType::bf16 : DType::f64, options.seed, {}, options.precision);
    expected.forward("reference");
    for (const Slot& slot : op_case.outputs) {
      compare(expected.host("out:" + slot.name), actual.host("out:" + slot.name), tolerance(slot),
              who + " " + slot.name, failures);
    }
    if (op_case.backward) {
      expected.backward("reference");
      actual.backward(leaves_backward(op_case.operation, variant, options.device.type) ? "" : variant);
      for (const Slot& slot : op_case.inputs) {
        if (!slot.differentiable) continue;
        compare(expected.host("grad_in:" + slot.name), actual.host("grad_in:" + slot.name), tolerance(slot),
                who + " gradient of " + slot.name, failures);
      }
    }
    actual.check_guards(failures, who);
    if (options.digest != nullptr) *options.digest = actual.digest();
  } catch (const NoVariant& error) {
    if (options.device == core::Device{}) failures.push_back(fmt::format("{}: {}", who, error.what()));
    if (supported != nullptr) *supported = false;
  } catch (const std::exception& error) {
    failures.push_back(fmt::format("{}: {}", who, error.what()));
  }
  if (options.device.type == simulator::kDeviceType) {
    for (std::string& failure : failures) {  // faults that the simulator finds name the seed already
      if (failure.find("SIM_SEED") == std::string::npos)
        failure += fmt::format(" [MEDFUSION_SIM_SEED={}]", simulator::sim_seed());
    }
  }
  return failures;
}

std::vector<std::string> check_schedules(const OpCase& op_case, const std::string& variant,
                                         const CheckOptions& options, int64_t schedules, bool* supported) {
  struct PutBack {
    uint64_t before = simulator::sim_seed();
    ~PutBack() { simulator::set_sim_seed(before); }
  } const put_back;
  bool taken = false;
  uint64_t first = 0;
  std::vector<std::string> failures;
  for (int64_t schedule = 1; schedule <= schedules && failures.empty(); ++schedule) {
    simulator::set_sim_seed(static_cast<uint64_t>(schedule));
    uint64_t digest = 0;
    CheckOptions check = options;
    check.digest = &digest;
    failures = check_parity(op_case, variant, check, &taken);
    if (!taken) break;
    if (schedule == 1) first = digest;
    if (failures.empty() && digest != first) {
      failures.push_back(
          fmt::format("{}: other bits with MEDFUSION_SIM_SEED={} than with 1: a barrier or a wait is missing",
                      label(op_case, variant), schedule));
    }
  }
  if (supported != nullptr) *supported = taken;
  return failures;
}

}  // namespace medfusion::kernels
