#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

struct Setup {
  Shape x;  // [batch, height, width, channels]
  int64_t kernel = 3, stride = 1;
  int64_t before = 1, after = 1;  // padding
  bool bias = false;
  Layout layout = Layout::contiguous;
};

OpCase make(const Setup& s) {
  OpCase c;
  c.operation = "depthwise_convolution";
  c.name = fmt::format("x={} kernel={} stride={} padding={},{}{}", s.x.str(), s.kernel, s.stride, s.before,
                       s.after, s.bias ? " bias" : "");
  if (s.layout == Layout::channel_slice) c.name += " slice";
  if (s.layout == Layout::misaligned) c.name += " misaligned";
  const auto size = [&](int64_t pixels) { return (pixels + s.before + s.after - s.kernel) / s.stride + 1; };
  const Shape weight{s.x[3], 1, s.kernel, s.kernel}, y{s.x[0], size(s.x[1]), size(s.x[2]), s.x[3]};
  c.inputs = {{.name = "x", .shape = s.x, .layout = s.layout},
              {.name = "weight",
               .shape = weight,
               .layout = s.layout == Layout::misaligned ? s.layout : Layout::contiguous}};
  if (s.bias) c.inputs.push_back({.name = "bias", .shape = {s.x[3]}});
  c.outputs = {{.name = "y", .shape = y, .layout = s.layout}};
  c.forward = runs<DepthwiseConvolutionForward>("in:x", "in:weight", "in:bias?", "out:y", s.stride, s.before);
  c.backward = runs<DepthwiseConvolutionBackward>("in:x", "in:weight", "grad_out:y", "grad_in:x",
                                                  "grad_in:weight", "grad_in:bias?", s.stride, s.before);
  c.flops = 2.0 * static_cast<double>(y.numel() * s.kernel * s.kernel);
  c.bytes = 4.0 * static_cast<double>(s.x.numel() + y.numel() + weight.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const Layout layout : {Layout::contiguous, Layout::channel_slice, Layout::misaligned}) {
    list.push_back(make({.x = {2, 7, 9, 33}, .bias = true, .layout = layout}));
    list.push_back(make({.x = {2, 8, 6, 32}, .stride = 2, .before = 0, .layout = layout}));
    list.push_back(make({.x = {1, 9, 8, 20}, .kernel = 5, .before = 2, .after = 2, .layout = layout}));
  }
  // Odd and even images, of which stride 2 reads some pixels with the last taps only; TensorFlow's padding.
  for (const int64_t size : {5, 6, 11, 12}) {
    const int64_t total = size % 2 == 0 ? 3 : 4;
    list.push_back(make({.x = {1, size, size, 9},
                         .kernel = 5,
                         .stride = 2,
                         .before = total / 2,
                         .after = total - total / 2}));
  }
  list.push_back(make({.x = {2, 10, 9, 17}, .kernel = 7, .before = 3, .after = 3, .bias = true}));
  list.push_back(make({.x = {1, 9, 13, 8}, .kernel = 3, .stride = 3, .before = 1, .after = 0}));
  // No pixel is read twice, or some are never read.
  list.push_back(make({.x = {1, 7, 7, 5}, .kernel = 1, .stride = 2, .before = 0, .after = 0}));
  list.push_back(make({.x = {1, 1, 1, 1}, .bias = true}));
  list.push_back(make({.x = {3, 1, 2, 31}, .kernel = 5, .before = 2, .after = 2}));
  list.push_back(make({.x = {0, 5, 5, 4}}));
  list.push_back(
      make({.x = {1, 2, 2, 3}, .kernel = 3, .before = 4, .after = 4}));  // windows of padding alone
  // Of EfficientNet-Lite0 and ConvNeXt at 224x224, batch 16.
  list.push_back(timed(make({.x = {16, 112, 112, 32}})));
  list.push_back(timed(make({.x = {16, 112, 112, 96}, .stride = 2, .before = 0})));
  list.push_back(timed(make({.x = {16, 56, 56, 144}, .kernel = 5, .stride = 2, .before = 1, .after = 2})));
  list.push_back(timed(make({.x = {16, 14, 14, 672}, .kernel = 5, .before = 2, .after = 2})));
  list.push_back(timed(make({.x = {16, 56, 56, 96}, .kernel = 7, .before = 3, .after = 3, .bias = true})));
  list.push_back(timed(make({.x = {16, 7, 7, 1152}, .kernel = 5, .before = 2, .after = 2})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
