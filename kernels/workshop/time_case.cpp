#include "kernels/workshop/time_case.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/allocator.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"
#include "kernels/workshop/check.h"
#include "kernels/workshop/cpu_rates.h"

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

// Batches of calls long enough for the clock and for the launches to overlap. `before` is run ahead of each
// batch and not timed; where it prepares single calls, a batch has no more than `most` of them.
template <class Call, class Before>
Timing time_calls(core::Device device, double seconds, const Call& call, const Before& before,
                  int64_t most = std::numeric_limits<int64_t>::max()) {
  core::Runtime& runtime = core::runtime(device);
  const core::Stream stream = core::current_stream(device);
  const auto batch_of = [&](int64_t calls) {
    before();
    runtime.synchronize(stream);
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) call();
    runtime.synchronize(stream);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  batch_of(1);  // warms caches up
  const double once = batch_of(1);
  constexpr double kBatchSeconds = 2e-3;
  const auto calls = std::clamp<int64_t>(std::llround(kBatchSeconds / std::max(once, 1e-7)), 1, most);
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
template <class Call>
Timing time_calls(core::Device device, double seconds, const Call& call) {
  return time_calls(device, seconds, call, [] {});
}

// The calls of a case, each on the next of several sets of tensors.
class Calls {
 public:
  Calls(const OpCase& op_case, const std::string& variant, Pass pass, core::Device device,
        core::DType precision)
      : case_(op_case), variant_(variant), pass_(pass), device_(device), precision_(precision) {}
  // A forward needs no gradients.
  void add_set() {
    sets_.push_back(make_bench_tensors(case_, device_, precision_, pass_ != Pass::forward));
    call_forward(case_, sets_.back(), variant_);  // also what the backward reads
  }
  bool prepares() const {
    return (pass_ != Pass::backward && case_.prepare_forward) ||
           (pass_ != Pass::forward && case_.prepare_backward);
  }
  void prepare_all() {
    for (CaseTensors& tensors : sets_) {
      if (pass_ != Pass::backward && case_.prepare_forward) case_.prepare_forward(tensors);
      if (pass_ != Pass::forward && case_.prepare_backward) case_.prepare_backward(tensors);
    }
  }
  void next() {
    CaseTensors& tensors = sets_[turn_++ % sets_.size()];
    if (pass_ != Pass::backward) case_.forward(tensors, variant_);
    if (pass_ != Pass::forward) case_.backward(tensors, variant_);
  }
  void all() {
    for (size_t i = 0; i < sets_.size(); ++i) next();
  }

 private:
  const OpCase& case_;
  const std::string variant_;
  const Pass pass_;
  const core::Device device_;
  const core::DType precision_;
  std::vector<CaseTensors> sets_;
  size_t turn_ = 0;
};

// Adds the first set of tensors and counts the memory of a call on it: peak_bytes and reserved_bytes.
Timing measure_memory(Calls& calls, core::Device device) {
  core::CachingAllocator& allocator = core::allocator(device);
  allocator.release_cached();
  const core::MemoryCounters before = allocator.counters();
  calls.add_set();
  if (calls.prepares()) calls.prepare_all();
  core::runtime(device).synchronize(core::current_stream(device));
  allocator.release_cached();
  allocator.reset_peak();
  calls.next();
  const core::MemoryCounters after = allocator.counters();
  return {.peak_bytes = after.peak - before.live, .reserved_bytes = after.peak_reserved - before.reserved};
}

// A call on every set, as one graph.
class CapturedCalls {
 public:
  CapturedCalls(core::Device device, Calls& calls)
      : runtime_(core::runtime(device)),
        stream_(core::current_stream(device)),
        pool_(core::allocator(device), stream_) {
    const core::MemoryPool::Use use(pool_);
    calls.all();  // leaves its memory to the capture
    runtime_.synchronize(stream_);
    runtime_.begin_capture(stream_);
    try {
      calls.all();
    } catch (...) {
      runtime_.destroy_graph(runtime_.end_capture(stream_));
      throw;
    }
    graph_ = runtime_.end_capture(stream_);
  }
  ~CapturedCalls() { runtime_.destroy_graph(graph_); }
  CapturedCalls(const CapturedCalls&) = delete;
  CapturedCalls& operator=(const CapturedCalls&) = delete;
  void replay() { runtime_.replay(graph_, stream_); }

 private:
  core::Runtime& runtime_;
  const core::Stream stream_;
  core::MemoryPool pool_;
  core::Graph graph_;
};

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

// Operations per second of a product of n x n matrices, by the library where the device has one: what others
// are held against must not depend on what is registered here.
double time_product(core::Device device, core::DType precision, int64_t n, double seconds) {
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

CaseTensors make_bench_tensors(const OpCase& op_case, core::Device device, core::DType precision,
                               bool gradients) {
  CaseTensors tensors;
  tensors.set_device(device);
  uint64_t stream = 0;
  const auto make = [&](const Slot& slot) { return make_tensor(slot, stream++, device, precision); };
  for (const Slot& slot : op_case.inputs) {
    tensors.set("in:" + slot.name, make(slot));
    if (gradients && slot.differentiable) tensors.set("grad_in:" + slot.name, make(gradient_slot(slot)));
  }
  for (const Slot& slot : op_case.outputs) {
    tensors.set("out:" + slot.name, make(slot));
    if (gradients && slot.differentiable) tensors.set("grad_out:" + slot.name, make(slot));
  }
  return tensors;
}

const char* name_of(Pass pass) {
  constexpr const char* kNames[] = {"forward", "backward", "both"};
  return kNames[static_cast<int>(pass)];
}

namespace {

double work_of(Pass pass, double backward) {
  return (pass == Pass::backward ? 0.0 : 1.0) + (pass == Pass::forward ? 0.0 : backward);
}

}  // namespace

double flops_of(const OpCase& op_case, Pass pass) {
  return op_case.flops * work_of(pass, op_case.backward_flops);
}
double bytes_of(const OpCase& op_case, Pass pass) {
  return op_case.bytes * work_of(pass, op_case.backward_bytes);
}

int64_t sets_for(const OpCase& op_case, core::DType precision, int64_t cache_bytes) {
  constexpr int64_t kMostSets = 256;  // of small cases, whose launches take longer than their memory
  int64_t bytes = 0;
  for (const auto* slots : {&op_case.inputs, &op_case.outputs}) {
    for (const Slot& slot : *slots) {
      const bool lowered = slot.dtype == core::DType::f32 && !slot.statistic;
      bytes += slot.shape.numel() * core::size_of(lowered ? precision : slot.dtype);
    }
  }
  const int64_t wanted = 4 * cache_bytes;
  return std::clamp<int64_t>(bytes == 0 ? 1 : (wanted + bytes - 1) / bytes, 1, kMostSets);
}

Timing time_case(const OpCase& op_case, const std::string& variant, Pass pass, core::Device device,
                 core::DType precision, const TimeOptions& options) {
  const int64_t cache = core::runtime(device).limits().cache_bytes;
  const int64_t sets = options.sets > 0 ? options.sets : sets_for(op_case, precision, cache);
  Calls calls(op_case, variant, pass, device, precision);
  const Timing memory = measure_memory(calls, device);
  for (int64_t i = 1; i < sets; ++i) calls.add_set();
  const auto before = [&] {
    if (calls.prepares()) calls.prepare_all();
  };
  const int64_t most = calls.prepares() ? sets : std::numeric_limits<int64_t>::max();
  Timing timing;
  if (options.graph) {
    if (calls.prepares()) calls.prepare_all();
    CapturedCalls captured(device, calls);
    timing = time_calls(
        device, options.seconds, [&] { captured.replay(); }, before, calls.prepares() ? 1 : most);
    for (double* seconds : {&timing.median, &timing.low, &timing.high}) *seconds /= static_cast<double>(sets);
    timing.calls *= sets;
  } else {
    timing = time_calls(
        device, options.seconds, [&] { calls.next(); }, before, most);
  }
  timing.sets = sets;
  timing.peak_bytes = memory.peak_bytes;
  timing.reserved_bytes = memory.reserved_bytes;
  return timing;
}

double Ceilings::bytes_per_second_of(double bytes) const {
  double best = bytes_per_second;
  for (size_t i = 0; i < by_size.size(); ++i) {
    const bool smaller = i + 1 < by_size.size() && static_cast<double>(by_size[i + 1].bytes) <= bytes;
    if (!smaller) best = std::max(best, by_size[i].bytes_per_second);
  }
  return best;
}

namespace {

Ceilings measure_cpu(const CeilingSizes& sizes) {
  constexpr int64_t kSmallest = int64_t{16} << 10, kLargest = int64_t{256} << 20;
  const int64_t largest = sizes.bytes > 0 ? sizes.bytes : kLargest;
  Ceilings result;
  for (int64_t bytes = std::min(kSmallest, largest); bytes <= largest; bytes *= 2)
    result.by_size.push_back({bytes, memory_rate(bytes, sizes.seconds / 5)});
  result.bytes_per_second = result.by_size.back().bytes_per_second;
  result.flops_per_second = multiply_add_rate(sizes.seconds);
  return result;
}

}  // namespace

Ceilings measure_ceilings(core::Device device, const CeilingSizes& sizes) {
  if (device.type == core::DeviceType::cpu) return measure_cpu(sizes);
  Ceilings result;
  const auto chosen = [](int64_t given, int64_t otherwise) { return given > 0 ? given : otherwise; };
  result.bytes_per_second = time_copy(device, chosen(sizes.bytes, int64_t{512} << 20), sizes.seconds);
  result.flops_per_second =
      time_product(device, core::DType::f32, chosen(sizes.product, 4096), sizes.seconds);
  result.bf16_flops_per_second =
      time_product(device, core::DType::bf16, chosen(sizes.bf16_product, 8192), sizes.seconds);
  return result;
}

}  // namespace medfusion::kernels
