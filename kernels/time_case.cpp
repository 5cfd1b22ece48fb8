#include "kernels/time_case.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/runtime.h"
#include "kernels/check.h"
#include "kernels/cuda/math_mode.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using Clock = std::chrono::steady_clock;

// Filled with a pattern of 65536 draws: drawing each element would take longer than the measurement.
Tensor make_tensor(const Slot& slot, uint64_t stream, core::Device device, core::DType precision) {
  core::Shape whole = slot.shape;
  const int last = slot.shape.rank() - 1;
  const SlotSlice slice = slice_of(slot);
  if (last >= 0) whole[last] = slice.buffer;
  Slot pattern = slot;
  pattern.shape = {std::min<int64_t>(whole.numel(), 1 << 16)};
  const Tensor drawn = Tensor::empty(pattern.shape, slot.dtype);
  fill_slot(pattern, drawn, 20, stream);
  const Tensor tensor = Tensor::empty({whole.numel()}, slot.dtype);
  for (int64_t i = 0; i < whole.numel(); i += drawn.numel()) {
    const int64_t count = std::min(drawn.numel(), whole.numel() - i);
    tensor.slice(0, i, i + count).copy_from(drawn.slice(0, 0, count));
  }
  const bool lowered = slot.dtype == core::DType::f32 && !slot.statistic;
  const Tensor shaped = (lowered ? tensor.to(precision) : tensor).reshape(whole).to(device);
  return last < 0 ? shaped : shaped.slice(last, slice.first, slice.first + slot.shape[last]);
}

// Batches of calls long enough for the clock and for the launches to overlap.
template <class Call>
Timing time_calls(core::Device device, double seconds, const Call& call) {
  core::Runtime& runtime = core::runtime(device);
  const core::Stream stream = core::current_stream(device);
  const auto batch_of = [&](int64_t calls) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) call();
    runtime.synchronize(stream);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  batch_of(1);  // warms caches up
  const double once = batch_of(1);
  constexpr double kBatchSeconds = 2e-3;
  const auto calls = std::max<int64_t>(1, std::llround(kBatchSeconds / std::max(once, 1e-7)));
  std::vector<double> each;
  const auto start = Clock::now();
  do {
    each.push_back(batch_of(calls) / static_cast<double>(calls));
  } while (each.size() < 5 || std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  std::sort(each.begin(), each.end());
  const auto at = [&](double fraction) {
    return each[static_cast<size_t>(fraction * static_cast<double>(each.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9), calls * static_cast<int64_t>(each.size())};
}

// Read and written bytes per second.
double time_copy(core::Device device, int64_t bytes, double seconds) {
  const Tensor from = Tensor::zeros({bytes}, core::DType::u8, device);
  const Tensor to = Tensor::zeros({bytes}, core::DType::u8, device);
  const Timing copy = time_calls(device, seconds, [&] {
    core::runtime(device).copy_on_device(to.view().data, from.view().data, bytes,
                                         core::current_stream(device));
  });
  return 2.0 * static_cast<double>(bytes) / copy.median;
}

// Keeps products of f32 from being rounded to TF32.
class WithoutTf32 {
 public:
  WithoutTf32() { cuda::set_allow_tf32(false); }
  ~WithoutTf32() { cuda::set_allow_tf32(before_); }
  WithoutTf32(const WithoutTf32&) = delete;
  WithoutTf32& operator=(const WithoutTf32&) = delete;

 private:
  bool before_ = cuda::allow_tf32();
};

// Operations per second of a product of n x n matrices, by the library where the device has one: what others
// are held against must not depend on what is registered here. 0 on the cpu in bf16, which it does not take.
double time_product(core::Device device, core::DType precision, int64_t n, double seconds) {
  if (precision == core::DType::bf16 && device.type == core::DeviceType::cpu) return 0.0;
  const WithoutTf32 exact;
  const std::vector<std::string> variants = variants_of("matmul", device.type);
  const bool library = std::find(variants.begin(), variants.end(), "cublas") != variants.end();
  // Draws, since a multiplier of equal numbers takes less power, and the card is faster for it.
  const auto square = [&](uint64_t stream) {
    return make_tensor({.name = "x", .shape = {n, n}}, stream, device, precision);
  };
  const Tensor a = square(1), b = square(2), c = Tensor::empty({n, n}, core::DType::f32, device);
  const Timing product = time_calls(device, seconds, [&] {
    dispatch(MatmulForward{.a = a.view(), .b = b.view(), .c = c.view()}, device.type,
             library ? "cublas" : "");
  });
  return 2.0 * std::pow(static_cast<double>(n), 3) / product.median;
}

}  // namespace

CaseTensors make_bench_tensors(const OpCase& op_case, core::Device device, core::DType precision) {
  CaseTensors tensors;
  tensors.set_device(device);
  uint64_t stream = 0;
  const auto make = [&](const Slot& slot) { return make_tensor(slot, stream++, device, precision); };
  for (const Slot& slot : op_case.inputs) {
    tensors.set("in:" + slot.name, make(slot));
    if (slot.differentiable) tensors.set("grad_in:" + slot.name, make(gradient_slot(slot)));
  }
  for (const Slot& slot : op_case.outputs) {
    tensors.set("out:" + slot.name, make(slot));
    if (slot.differentiable) tensors.set("grad_out:" + slot.name, make(slot));
  }
  return tensors;
}

Timing time_case(const OpCase& op_case, const std::string& variant, bool backward, core::Device device,
                 core::DType precision, double seconds) {
  CaseTensors tensors = make_bench_tensors(op_case, device, precision);
  op_case.forward(tensors, variant);  // also what the backward reads
  const auto& direction = backward ? op_case.backward : op_case.forward;
  return time_calls(device, seconds, [&] { direction(tensors, variant); });
}

Ceilings measure_ceilings(core::Device device, const CeilingSizes& sizes) {
  Ceilings result;
  const bool gpu = device.type == core::DeviceType::cuda;
  const auto chosen = [](int64_t given, int64_t otherwise) { return given > 0 ? given : otherwise; };
  result.bytes_per_second =
      time_copy(device, chosen(sizes.bytes, int64_t{gpu ? 512 : 64} << 20), sizes.seconds);
  result.flops_per_second =
      time_product(device, core::DType::f32, chosen(sizes.product, gpu ? 4096 : 1024), sizes.seconds);
  result.bf16_flops_per_second =
      time_product(device, core::DType::bf16, chosen(sizes.bf16_product, gpu ? 8192 : 1024), sizes.seconds);
  return result;
}

}  // namespace medfusion::kernels
