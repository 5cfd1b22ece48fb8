#include "kernels/activation/activation.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

OpCase make(Activation function, const std::string& name, const core::Shape& shape, Layout layout,
            Fill fill) {
  OpCase c;
  c.operation = "activation";
  c.name = name + " " + shape.str();
  c.inputs = {{.name = "x", .shape = shape, .fill = fill, .layout = layout}};
  c.outputs = {{.name = "y", .shape = shape, .layout = layout}};
  c.forward = runs<ActivationForward>(function, "in:x", "out:y");
  c.backward = runs<ActivationBackward>(function, "in:x", "grad_out:y", "grad_in:x");
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.5;  // x, grad_y, grad_x
  c.flops = static_cast<double>(shape.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  const std::pair<Activation, const char*> functions[] = {{Activation::relu, "relu"},
                                                          {Activation::gelu, "gelu"},
                                                          {Activation::sigmoid, "sigmoid"},
                                                          {Activation::relu6, "relu6"}};
  for (const auto& [function, name] : functions) {
    for (const core::Shape& shape : {core::Shape{0}, core::Shape{1}, core::Shape{31}, core::Shape{32},
                                     core::Shape{33}, core::Shape{3, 5, 7}}) {
      list.push_back(make(function, name, shape, Layout::contiguous, Fill::off_zero));
    }
    list.push_back(
        make(function, std::string(name) + " slice", {2, 3, 13}, Layout::channel_slice, Fill::off_zero));
    list.push_back(
        make(function, std::string(name) + " misaligned", {67}, Layout::misaligned, Fill::off_zero));
    OpCase extreme =
        make(function, std::string(name) + " infinite", {2, 40}, Layout::contiguous, Fill::extreme);
    extreme.gradcheck = false;  // no differences across infinities
    extreme.backward = nullptr;
    list.push_back(std::move(extreme));
    OpCase large =
        make(function, std::string(name) + " large", {1 << 22}, Layout::contiguous, Fill::off_zero);
    large.bench = true;
    list.push_back(std::move(large));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
