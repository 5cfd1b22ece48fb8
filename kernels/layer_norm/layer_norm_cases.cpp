#include "kernels/layer_norm/layer_norm.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase make(const std::string& name, const Shape& shape, Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "layer_norm";
  c.name = name + shape.str();
  const Shape width{shape.at(-1)};
  const Shape rows{shape.at(-1) == 0 ? 0 : shape.numel() / shape.at(-1)};
  c.inputs = {{.name = "x", .shape = shape, .layout = layout},
              {.name = "weight", .shape = width},
              {.name = "bias", .shape = width}};
  c.outputs = {{.name = "y", .shape = shape, .layout = layout},
               {.name = "mean", .shape = rows, .differentiable = false},
               {.name = "inv_std", .shape = rows, .differentiable = false}};
  c.forward = runs<LayerNormForward>("in:x", "in:weight", "in:bias", "out:y", "out:mean", "out:inv_std");
  c.backward = runs<LayerNormBackward>("in:x", "in:weight", "out:mean", "out:inv_std", "grad_out:y",
                                       "grad_in:x", "grad_in:weight", "grad_in:bias");
  c.flops = 8.0 * static_cast<double>(shape.numel());
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.5;  // x, grad_y, grad_x
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const int64_t width : {3, 31, 32, 33}) list.push_back(make("", {5, width}));
  list.push_back(make("no rows ", {0, 5}));
  list.push_back(make("no columns ", {5, 0}));
  list.push_back(make("tokens ", {2, 7, 16}));
  list.push_back(make("many rows ", {300, 9}));
  list.push_back(make("wide ", {2, 600}));
  list.push_back(make("slice ", {2, 3, 13}, Layout::channel_slice));
  list.push_back(make("misaligned ", {3, 37}, Layout::misaligned));
  for (const int64_t width : {1, 2}) {
    OpCase narrow = make("", {5, width});
    // Such rows normalize to 0, or to +-1: what is left of the gradient is eps / variance of the terms that
    // cancel, whose rounding in f32 is all that is seen.
    narrow.gradcheck = false;
    narrow.tolerance = 100.0;
    list.push_back(std::move(narrow));
  }
  list.push_back(timed(make("large ", {16 * 512, 256})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
