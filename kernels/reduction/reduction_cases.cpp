#include "kernels/reduction/reduction.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase make(Reduction function, const std::string& name, const Shape& x, const Shape& y,
            Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "reduction";
  c.name = name + " " + x.str() + " to " + y.str();
  const bool max = function == Reduction::max;
  c.inputs = {{.name = "x", .shape = x, .fill = max ? Fill::distinct : Fill::normal, .layout = layout}};
  c.outputs = {{.name = "y", .shape = y, .layout = layout}};
  if (max)
    c.outputs.push_back({.name = "argmax", .shape = y, .differentiable = false, .dtype = core::DType::i64});
  c.forward = runs<ReduceForward>(function, "in:x", "out:y", "out:argmax?");
  c.backward = runs<ReduceBackward>(function, "out:argmax?", "grad_out:y", "grad_in:x");
  c.flops = static_cast<double>(x.numel());
  c.bytes = 4.0 * static_cast<double>(x.numel() + y.numel());
  c.backward_bytes = 1.0;
  return c;
}

// Both sides as transposed views.
OpCase transposed(Reduction function, const std::string& name) {
  OpCase c = make(function, name + " transposed", {6, 35}, {1, 35});
  c.forward = runs<ReduceForward>(function, "in:x^T", "out:y^T", "out:argmax^T?");
  c.backward = runs<ReduceBackward>(function, "out:argmax^T?", "grad_out:y^T", "grad_in:x^T");
  return c;
}

// Of x in bf16 where the run is: the sum is f32, and has no backward.
OpCase narrow_sum(const Shape& x, const Shape& y, Layout layout = Layout::contiguous) {
  OpCase c = make(Reduction::sum, "narrow sum", x, y, layout);
  c.outputs[0].statistic = true;
  c.outputs[0].layout = Layout::contiguous;
  c.backward = nullptr;
  c.gradcheck = false;
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  list.push_back(narrow_sum({2, 3, 5, 33}, {1, 1, 1, 33}, Layout::channel_slice));
  list.push_back(narrow_sum({2, 30, 20, 8}, {1, 1, 1, 8}));
  list.push_back(narrow_sum({1, 1, 1, 7}, {1, 1, 1, 7}));
  list.push_back(narrow_sum({0, 2, 2, 3}, {1, 1, 1, 3}));
  const std::pair<Reduction, const char*> functions[] = {
      {Reduction::sum, "sum"}, {Reduction::mean, "mean"}, {Reduction::max, "max"}};
  for (const auto& [function, name] : functions) {
    const std::string text = name;
    for (const int64_t n : {1, 31, 32, 33, 300}) {
      list.push_back(make(function, text, {n}, {1}));
      list.push_back(make(function, text, {3, n}, {3, 1}));
      list.push_back(make(function, text, {n, 3}, {1, 3}));
      list.push_back(make(function, text, {2, n}, {1, n}));
    }
    list.push_back(make(function, text, {3, 5, 7}, {1, 5, 1}));
    list.push_back(make(function, text, {3, 5, 7}, {3, 1, 7}));
    list.push_back(make(function, text, {2, 3, 5, 4}, {2, 1, 1, 4}));
    list.push_back(make(function, text, {2, 3, 5, 4}, {1, 3, 1, 4}));
    list.push_back(make(function, text, {2, 3, 5, 4}, {2, 3, 5, 4}));
    list.push_back(make(function, text, {0, 5}, {0, 1}));
    list.push_back(make(function, text, {5, 0}, {1, 0}));
    list.push_back(make(function, text + " slice", {2, 3, 13}, {1, 1, 13}, Layout::channel_slice));
    list.push_back(make(function, text + " slice", {2, 3, 13}, {2, 3, 1}, Layout::channel_slice));
    list.push_back(make(function, text + " misaligned", {4, 33}, {4, 1}, Layout::misaligned));
    list.push_back(transposed(function, text));
    for (const Shape& y : {Shape{1, 64}, Shape{1 << 16, 1}}) {
      list.push_back(timed(make(function, text + " large", {1 << 16, 64}, y)));
    }
  }
  OpCase empty = make(Reduction::sum, "sum of nothing", {0, 5}, {1, 5});
  list.push_back(std::move(empty));
  // Many terms, so that the partial sums of several chunks meet.
  list.push_back(make(Reduction::sum, "sum", {20000}, {1}));
  list.push_back(make(Reduction::mean, "mean", {2, 3000, 5}, {2, 1, 5}));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
