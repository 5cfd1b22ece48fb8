#include "kernels/concat/concat.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

// `shape` with size 0 along `dimension`, where the inputs have `sizes`.
OpCase make(const std::string& name, core::Shape shape, int dimension, const std::vector<int64_t>& sizes,
            const std::vector<Layout>& layouts = {Layout::contiguous}, Layout y_layout = Layout::contiguous) {
  OpCase c;
  c.operation = "concat";
  int64_t total = 0;
  for (size_t n = 0; n < sizes.size(); ++n) {
    core::Shape part = shape;
    part[dimension] = sizes[n];
    total += sizes[n];
    c.inputs.push_back({.name = fmt::format("x{}", n), .shape = part, .layout = layouts[n % layouts.size()]});
  }
  shape[dimension] = total;
  c.name = fmt::format("{} dim={} y={}", name, dimension, shape.str());
  c.outputs = {{.name = "y", .shape = shape, .layout = y_layout}};
  const size_t count = sizes.size();
  c.forward = [=](CaseTensors& t, const std::string& variant) {
    ConcatForward a{dimension, {}, t.out("y").view()};
    for (size_t n = 0; n < count; ++n) a.inputs.push_back(t.in(fmt::format("x{}", n)).view());
    dispatch<ConcatForward>(a, t.device(), variant);
  };
  c.backward = [=](CaseTensors& t, const std::string& variant) {
    ConcatBackward a{dimension, t.grad_out("y").view(), {}};
    for (size_t n = 0; n < count; ++n) a.grads.push_back(t.grad_in(fmt::format("x{}", n)).view());
    dispatch<ConcatBackward>(a, t.device(), variant);
  };
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.0;
  return c;
}

const RegisterCases cases([] {
  const Layout slice = Layout::channel_slice;
  const Layout misaligned = Layout::misaligned;
  std::vector<OpCase> list;
  list.push_back(make("one input", {3, 0}, 1, {5}));
  list.push_back(make("single elements", {0}, 0, {1, 1, 1}));
  list.push_back(make("channels", {2, 3, 5, 0}, 3, {31, 32, 33}));
  list.push_back(make("tokens", {2, 0, 7}, 1, {4, 1, 9}));
  list.push_back(make("batch", {0, 3, 4}, 0, {2, 3}));
  list.push_back(make("one empty", {3, 0}, 1, {4, 0, 2}));
  list.push_back(make("all empty", {0, 3}, 0, {0, 0}));
  list.push_back(make("no rows", {0, 0}, 1, {4, 3}));
  list.push_back(
      make("slices of channels", {2, 3, 0}, 2, {4, 7, 1}, {slice, Layout::contiguous, misaligned}));
  list.push_back(make("slices of tokens", {2, 0, 5}, 1, {4, 3}, {slice}, slice));
  list.push_back(make("whole vectors", {2, 3, 0}, 2, {4, 12, 8}));
  list.push_back(make("many inputs", {3, 0}, 1, {1, 2, 3, 1, 2, 3, 1, 2, 3, 4}));
  list.push_back(make("rank 6", {2, 1, 3, 0, 2, 2}, 3, {2, 1}, {slice}));
  list.push_back(timed(make("large", {16, 56, 56, 0}, 3, {64, 32, 32, 32})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
