// Times the cases marked `bench` of every operation, forward and backward, on every f32 variant of the cpu:
//   kernel_bench [--threads=N] --benchmark_filter='convolution/cpu/.*'
// GB/s and GFLOP/s follow from the counts of the case.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string_view>

#include "core/threads.h"
#include "kernels/simulator/fiber.h"
#include "kernels/workshop/check.h"
#include "kernels/workshop/time_case.h"

namespace medfusion::kernels {
namespace {

void time_in(benchmark::State& state, const OpCase& op_case, const std::string& variant, bool backward) {
  CaseTensors tensors = make_bench_tensors(op_case);
  call_forward(op_case, tensors, variant);  // also what the backward reads
  if (backward) call_backward(op_case, tensors, variant);
  const auto& prepare = backward ? op_case.prepare_backward : op_case.prepare_forward;
  for (auto _ : state) {
    if (prepare) {
      state.PauseTiming();
      prepare(tensors);
      state.ResumeTiming();
    }
    (backward ? op_case.backward : op_case.forward)(tensors, variant);
  }
  const auto rate = [&](double count) {
    return benchmark::Counter(count * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  };
  const Pass pass = backward ? Pass::backward : Pass::forward;
  state.counters["GFLOP/s"] = rate(flops_of(op_case, pass));
  state.counters["GB/s"] = rate(bytes_of(op_case, pass));
}

// To a fiber of the simulator and back: two switches.
void time_fiber(benchmark::State& state) {
  simulator::Fiber fiber;
  bool running = true;
  const std::function<void()> body = [&] {
    while (running) fiber.yield();
  };
  fiber.start(&body);
  for (auto _ : state) fiber.resume();
  running = false;
  fiber.resume();
}

void register_all() {
  benchmark::RegisterBenchmark("fiber/there_and_back", time_fiber);
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
              time_in(state, op_case, variant, backward);
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
