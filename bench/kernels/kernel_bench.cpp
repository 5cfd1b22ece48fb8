// Times the cases marked `bench` of every operation, forward and backward, on every f32 variant of the cpu:
//   kernel_bench [--threads=N] --benchmark_filter='convolution/cpu/.*'
// GB/s and GFLOP/s follow from the counts of the case; a backward counts twice the forward.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string_view>

#include "core/threads.h"
#include "kernels/check.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;

// A tensor of the slot, filled with a pattern of 65536 draws: drawing each element would take longer than the
// bench.
Tensor make_tensor(const Slot& slot, uint64_t stream) {
  core::Shape whole = slot.shape;
  const int last = slot.shape.rank() - 1;
  if (slot.layout == Layout::channel_slice) whole[last] += 8;
  Slot pattern = slot;
  pattern.shape = {std::min<int64_t>(whole.numel(), 1 << 16)};
  const Tensor drawn = Tensor::empty(pattern.shape, slot.dtype);
  fill_slot(pattern, drawn, 20, stream);
  const Tensor tensor = Tensor::empty({whole.numel()}, slot.dtype);
  for (int64_t i = 0; i < whole.numel(); i += drawn.numel()) {
    const int64_t count = std::min(drawn.numel(), whole.numel() - i);
    tensor.slice(0, i, i + count).copy_from(drawn.slice(0, 0, count));
  }
  const Tensor shaped = tensor.reshape(whole);
  return slot.layout == Layout::channel_slice ? shaped.slice(last, 3, 3 + slot.shape[last]) : shaped;
}

CaseTensors make_tensors(const OpCase& op_case) {
  CaseTensors tensors;
  uint64_t stream = 0;
  for (const Slot& slot : op_case.inputs) {
    tensors.set("in:" + slot.name, make_tensor(slot, stream++));
    if (slot.differentiable) tensors.set("grad_in:" + slot.name, make_tensor(slot, stream++));
  }
  for (const Slot& slot : op_case.outputs) {
    tensors.set("out:" + slot.name, make_tensor(slot, stream++));
    if (slot.differentiable) tensors.set("grad_out:" + slot.name, make_tensor(slot, stream++));
  }
  return tensors;
}

void time_case(benchmark::State& state, const OpCase& op_case, const std::string& variant, bool backward) {
  CaseTensors tensors = make_tensors(op_case);
  op_case.forward(tensors, variant);  // also what the backward reads
  if (backward) op_case.backward(tensors, variant);
  for (auto _ : state) (backward ? op_case.backward : op_case.forward)(tensors, variant);
  const double work = backward ? 2.0 : 1.0;
  const auto rate = [&](double count) {
    return benchmark::Counter(count * work * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["GFLOP/s"] = rate(op_case.flops);
  state.counters["GB/s"] = rate(op_case.bytes);
}

void register_all() {
  for (const std::string& operation : operations_with_cases()) {
    for (const OpCase& op_case : cases_of(operation)) {
      if (!op_case.bench) continue;
      for (const std::string& variant : variants_of(operation, core::DeviceType::cpu)) {
        for (const bool backward : {false, true}) {
          if (backward && !op_case.backward) continue;
          const std::string name =
              operation + "/" + variant + "/" + (backward ? "backward" : "forward") + "/" + op_case.name;
          auto* bench = benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            try {
              time_case(state, op_case, variant, backward);
            } catch (const std::exception& error) {
              state.SkipWithError(error.what());
            }
          });
          bench->Unit(benchmark::kMillisecond);
          if (core::num_threads() > 1) bench->UseRealTime();  // one thread: its own time, steadier
        }
      }
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    int threads = 0;
    const bool known = argument.starts_with("--threads=");
    if (known) argument.remove_prefix(10);
    const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), threads);
    if (!known || error != std::errc() || *end != '\0' || threads < 1) {
      fmt::print(stderr, "kernel_bench: expected --threads=N or a --benchmark option, got {}\n", argv[i]);
      return 2;
    }
    medfusion::core::set_num_threads(threads);
  }
  medfusion::kernels::register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
