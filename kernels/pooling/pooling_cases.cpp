#include "kernels/pooling/pooling.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase make(Pooling function, const PoolingWindow& window, const Shape& x,
            Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "pooling";
  const bool max = function == Pooling::max;
  const auto size = [&](int64_t n) { return (n + 2 * window.padding - window.kernel) / window.stride + 1; };
  const Shape y{x[0], size(x[1]), size(x[2]), x[3]};
  c.name = fmt::format("{} kernel {} stride {} padding {} {}", max ? "max" : "average", window.kernel,
                       window.stride, window.padding, x.str());
  c.inputs = {{.name = "x", .shape = x, .fill = max ? Fill::distinct : Fill::normal, .layout = layout}};
  c.outputs = {{.name = "y", .shape = y, .layout = layout}};
  if (max)
    c.outputs.push_back({.name = "argmax", .shape = y, .differentiable = false, .dtype = core::DType::u8});
  c.forward = runs<PoolingForward>(function, window, "in:x", "out:y", "out:argmax?");
  c.backward = runs<PoolingBackward>(function, window, "out:argmax?", "grad_out:y", "grad_in:x");
  c.flops = static_cast<double>(y.numel() * window.kernel * window.kernel);
  c.bytes = 4.0 * static_cast<double>(x.numel() + y.numel());
  c.backward_bytes = 1.0;
  return c;
}

OpCase global(Pooling function, const Shape& x, Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "pooling";
  const bool max = function == Pooling::max;
  const Shape y{x[0], x[3]};
  c.name = fmt::format("global {} {}", max ? "max" : "average", x.str());
  c.inputs = {{.name = "x", .shape = x, .fill = max ? Fill::distinct : Fill::normal, .layout = layout}};
  c.outputs = {{.name = "y", .shape = y, .layout = layout, .statistic = true}};
  if (max) {
    c.outputs.push_back({.name = "argmax", .shape = y, .differentiable = false, .dtype = core::DType::i32});
  }
  c.forward = runs<GlobalPoolingForward>(function, "in:x", "out:y", "out:argmax?");
  c.backward = runs<GlobalPoolingBackward>(function, "out:argmax?", "grad_out:y", "grad_in:x");
  c.flops = static_cast<double>(x.numel());
  c.bytes = 4.0 * static_cast<double>(x.numel() + y.numel());
  c.backward_bytes = 1.0;
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  const PoolingWindow stem{3, 2, 1};
  const PoolingWindow transition{2, 2, 0};
  for (const Pooling function : {Pooling::max, Pooling::average}) {
    for (const int64_t channels : {0, 1, 31, 32, 33}) {
      list.push_back(make(function, stem, {2, 5, 7, channels}));
      list.push_back(global(function, {2, 3, 5, channels}));
    }
    for (const auto& window : {transition, PoolingWindow{3, 1, 1}, PoolingWindow{1, 1, 0},
                               PoolingWindow{2, 3, 1}, PoolingWindow{5, 2, 2}, PoolingWindow{3, 3, 0}}) {
      list.push_back(make(function, window, {2, 6, 7, 5}));
    }
    list.push_back(make(function, stem, {1, 1, 1, 4}));
    list.push_back(make(function, stem, {0, 5, 5, 4}));
    list.push_back(make(function, stem, {2, 4, 5, 13}, Layout::channel_slice));
    list.push_back(make(function, transition, {2, 4, 5, 13}, Layout::channel_slice));
    list.push_back(make(function, stem, {1, 6, 6, 17}, Layout::misaligned));
    list.push_back(global(function, {0, 3, 3, 2}));
    list.push_back(global(function, {3, 1, 1, 7}));
    list.push_back(global(function, {1, 15, 20, 3}));
    list.push_back(global(function, {2, 3, 4, 13}, Layout::channel_slice));
    list.push_back(timed(make(function, function == Pooling::max ? stem : transition, {16, 112, 112, 64})));
    list.push_back(timed(global(function, {16, 56, 56, 128})));
  }
  for (OpCase extreme : {make(Pooling::max, stem, {2, 5, 5, 9}), global(Pooling::max, {2, 5, 5, 9})}) {
    extreme.name += " infinite";
    extreme.inputs[0].fill = Fill::extreme;
    extreme.gradcheck = false;  // no differences across infinities
    list.push_back(std::move(extreme));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
