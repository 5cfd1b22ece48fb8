#include "kernels/convolution/convolution.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

struct Setup {
  Shape x;  // [batch, height, width, in]
  int64_t out = 1;
  int64_t kernel_rows = 1, kernel_columns = 1;
  int64_t stride = 1, padding = 0;
  bool bias = false, accumulate = false;
  bool input_gradient = true;
  Layout layout = Layout::contiguous;
};

OpCase make(const Setup& s) {
  OpCase c;
  c.operation = "convolution";
  c.name = fmt::format("x={} out={} kernel={}x{} stride={} padding={}{}{}", s.x.str(), s.out, s.kernel_rows,
                       s.kernel_columns, s.stride, s.padding, s.bias ? " bias" : "",
                       s.accumulate ? " accumulate" : "");
  if (s.layout == Layout::channel_slice) c.name += " slice";
  if (s.layout == Layout::misaligned) c.name += " misaligned";
  const Shape weight{s.out, s.x[3], s.kernel_rows, s.kernel_columns};
  const Shape y{s.x[0], convolution_size(s.x[1], s.kernel_rows, s.stride, s.padding),
                convolution_size(s.x[2], s.kernel_columns, s.stride, s.padding), s.out};
  const Layout weight_layout = s.layout == Layout::misaligned ? s.layout : Layout::contiguous;
  c.inputs = {{.name = "x", .shape = s.x, .differentiable = s.input_gradient, .layout = s.layout},
              {.name = "weight", .shape = weight, .layout = weight_layout, .f32_gradient = true}};
  if (s.bias) c.inputs.push_back({.name = "bias", .shape = {s.out}, .statistic = true});
  c.outputs = {{.name = "y", .shape = y, .layout = s.layout}};
  c.forward = runs<ConvolutionForward>("in:x", "in:weight", "in:bias?", "out:y", s.stride, s.padding);
  c.backward = runs<ConvolutionBackward>("in:x", "in:weight", "grad_out:y", "grad_in:x?", "grad_in:weight",
                                         "grad_in:bias?", s.stride, s.padding, s.accumulate);
  if (s.accumulate) c.prepare_backward = [](CaseTensors& t) { t.grad_in("x").fill(0.75); };
  if (s.accumulate) c.gradcheck = false;  // the 0.75 it starts from is not part of the gradient
  const auto taps = static_cast<double>(weight.numel());
  c.flops = 2.0 * taps * static_cast<double>(y[0] * y[1] * y[2]);
  c.bytes = 4.0 * (taps + static_cast<double>(s.x.numel() + y.numel()));
  return c;
}

// The convolutions of DenseNet-121 at 224x224, batch 16.
std::vector<OpCase> timed() {
  std::vector<OpCase> list;
  const auto add = [&](int64_t size, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                       int64_t padding) {
    OpCase c = make({.x = {16, size, size, in},
                     .out = out,
                     .kernel_rows = kernel,
                     .kernel_columns = kernel,
                     .stride = stride,
                     .padding = padding,
                     .input_gradient = in > 3});
    c.bench = true;
    list.push_back(std::move(c));
  };
  add(224, 3, 64, 7, 2, 3);  // nobody wants the gradient of the image
  for (const int64_t in : {64, 160, 256}) add(56, in, 128, 1, 1, 0);
  add(56, 128, 32, 3, 1, 1);
  add(28, 256, 128, 1, 1, 0);
  add(28, 128, 32, 3, 1, 1);
  for (const int64_t in : {256, 640, 1024}) add(14, in, 128, 1, 1, 0);
  add(14, 128, 32, 3, 1, 1);
  add(7, 768, 128, 1, 1, 0);
  add(7, 128, 32, 3, 1, 1);
  return list;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const Layout layout : {Layout::contiguous, Layout::channel_slice, Layout::misaligned}) {
    list.push_back(make({.x = {2, 3, 5, 33}, .out = 17, .bias = true, .layout = layout}));
    list.push_back(make({.x = {2, 5, 4, 9},
                         .out = 33,
                         .kernel_rows = 3,
                         .kernel_columns = 3,
                         .padding = 1,
                         .layout = layout}));
    list.push_back(make({.x = {2, 9, 8, 3},
                         .out = 18,
                         .kernel_rows = 7,
                         .kernel_columns = 7,
                         .stride = 2,
                         .padding = 3,
                         .layout = layout}));
  }
  list.push_back(make({.x = {0, 3, 3, 2}, .out = 2}));
  list.push_back(make({.x = {2, 3, 3, 2}, .out = 0, .kernel_rows = 3, .kernel_columns = 3, .padding = 1}));
  list.push_back(make({.x = {1, 1, 1, 1}, .out = 1, .bias = true}));
  list.push_back(make({.x = {3, 1, 1, 4}, .out = 5, .kernel_rows = 3, .kernel_columns = 3, .padding = 1}));
  list.push_back(make({.x = {2, 5, 7, 6}, .out = 5, .stride = 2, .bias = true}));
  list.push_back(make({.x = {1, 8, 7, 5},
                       .out = 6,
                       .kernel_rows = 3,
                       .kernel_columns = 3,
                       .stride = 2,
                       .padding = 1,
                       .accumulate = true}));
  list.push_back(make({.x = {1, 6, 5, 31},
                       .out = 32,
                       .kernel_rows = 3,
                       .kernel_columns = 3,
                       .bias = true,
                       .accumulate = true}));
  list.push_back(make({.x = {1, 6, 5, 4}, .out = 3, .kernel_rows = 1, .kernel_columns = 3, .padding = 1}));
  list.push_back(
      make({.x = {1, 7, 6, 2}, .out = 3, .kernel_rows = 4, .kernel_columns = 2, .stride = 3, .padding = 2}));
  list.push_back(make({.x = {1, 4, 3, 70}, .out = 40, .bias = true, .accumulate = true}));
  list.push_back(make({.x = {2, 4, 3, 16}, .out = 8, .kernel_rows = 3, .kernel_columns = 3, .padding = 1}));
  for (OpCase& c : timed()) list.push_back(std::move(c));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
