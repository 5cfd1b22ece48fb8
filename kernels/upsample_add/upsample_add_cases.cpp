#include "kernels/upsample_add/upsample_add.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

struct Size {
  int64_t height, width;
};

OpCase make(Resize resize, const std::string& name, int64_t batch, Size in, Size out, int64_t channels,
            bool bias = false, Layout layout = Layout::contiguous) {
  constexpr const char* kNames[] = {"nearest", "bilinear", "align_corners"};
  OpCase c;
  c.operation = "upsample_add";
  const core::Shape x_shape{batch, in.height, in.width, channels};
  const core::Shape y_shape{batch, out.height, out.width, channels};
  c.name =
      fmt::format("{} {} {} to {}", kNames[static_cast<int>(resize)], name, x_shape.str(), y_shape.str());
  c.inputs = {{.name = "x", .shape = x_shape, .layout = layout},
              {.name = "lateral", .shape = y_shape, .layout = layout}};
  if (bias) c.inputs.push_back({.name = "bias", .shape = {channels}, .statistic = true});
  c.outputs = {{.name = "y", .shape = y_shape, .layout = layout}};
  c.forward = runs<UpsampleAddForward>(resize, "in:x", "in:lateral", "in:bias?", "out:y");
  c.backward = runs<UpsampleAddBackward>(resize, "grad_out:y", "grad_in:x", "grad_in:bias?");
  // The contract: it is grad_y itself.
  c.finish_backward = [](CaseTensors& t) { t.grad_in("lateral").copy_from(t.grad_out("y")); };
  const auto small = static_cast<double>(x_shape.numel()), large = static_cast<double>(y_shape.numel());
  c.bytes = 4.0 * (small + 2.0 * large);
  if (c.bytes > 0.0) c.backward_bytes = 4.0 * (small + large) / c.bytes;  // grad_y, grad_x
  c.flops = static_cast<double>(y_shape.numel()) * (resize == Resize::nearest ? 1.0 : 4.0);
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const Resize resize : {Resize::nearest, Resize::bilinear, Resize::bilinear_align_corners}) {
    list.push_back(make(resize, "double", 2, {3, 2}, {6, 4}, 33, true));
    list.push_back(make(resize, "ragged", 1, {3, 4}, {5, 7}, 31));
    list.push_back(make(resize, "triple", 1, {2, 3}, {6, 9}, 4));
    list.push_back(make(resize, "same", 2, {2, 3}, {2, 3}, 32));
    list.push_back(make(resize, "wide", 2, {2, 3}, {4, 5}, 16, true));
    list.push_back(make(resize, "from one pixel", 2, {1, 1}, {3, 2}, 1, true));
    list.push_back(make(resize, "to one pixel", 1, {3, 2}, {1, 1}, 5));
    list.push_back(make(resize, "down", 1, {7, 5}, {3, 2}, 5));
    list.push_back(make(resize, "no image", 0, {2, 2}, {4, 4}, 3, true));
    list.push_back(make(resize, "no channel", 1, {2, 2}, {4, 4}, 0));
    list.push_back(make(resize, "slice", 2, {3, 2}, {6, 4}, 5, true, Layout::channel_slice));
    list.push_back(make(resize, "misaligned", 1, {3, 2}, {6, 4}, 9, false, Layout::misaligned));
    list.push_back(timed(make(resize, "large", 16, {28, 28}, {56, 56}, 128)));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
