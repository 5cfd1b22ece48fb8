#include "kernels/elementwise/elementwise.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase binary(Binary function, const std::string& name, const Shape& a, const Shape& b,
              Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "elementwise";
  c.name = name + " " + a.str() + " " + b.str();
  const Shape y = core::broadcast_shapes(a, b);
  c.inputs = {{.name = "a", .shape = a, .layout = layout},
              {.name = "b", .shape = b, .fill = Fill::positive, .layout = layout}};  // a divisor away from 0
  c.outputs = {{.name = "y", .shape = y, .layout = layout}};
  c.forward = runs<BinaryForward>(function, "in:a", "in:b", "out:y");
  c.backward = runs<BinaryBackward>(function, "in:a", "in:b", "grad_out:y", "grad_in:a", "grad_in:b");
  c.flops = static_cast<double>(y.numel());
  const auto operands = static_cast<double>(a.numel() + b.numel()), results = static_cast<double>(y.numel());
  c.bytes = 4.0 * (operands + results);
  const bool reads = function == Binary::mul || function == Binary::div;  // a and b, in backward
  c.backward_bytes = c.bytes == 0.0 ? 1.0 : 4.0 * (operands * (reads ? 2.0 : 1.0) + results) / c.bytes;
  return c;
}

OpCase affine(const Shape& shape, Layout layout) {
  OpCase c;
  c.operation = "elementwise";
  c.name = "affine " + shape.str();
  c.inputs = {{.name = "x", .shape = shape, .layout = layout}};
  c.outputs = {{.name = "y", .shape = shape, .layout = layout}};
  c.forward = runs<AffineForward>(-1.5, 0.25, "in:x", "out:y");
  c.backward = runs<AffineForward>(-1.5, 0.0, "grad_out:y", "grad_in:x");
  c.flops = 2.0 * static_cast<double>(shape.numel());
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.0;
  return c;
}

// The operands are transposed views: no dimension has stride 1.
OpCase transposed() {
  OpCase c = binary(Binary::mul, "mul transposed", {5, 9}, {5, 9});
  c.forward = runs<BinaryForward>(Binary::mul, "in:a^T", "in:b^T", "out:y^T");
  c.backward =
      runs<BinaryBackward>(Binary::mul, "in:a^T", "in:b^T", "grad_out:y^T", "grad_in:a^T", "grad_in:b^T");
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  const std::pair<Binary, const char*> functions[] = {
      {Binary::add, "add"}, {Binary::sub, "sub"}, {Binary::mul, "mul"}, {Binary::div, "div"}};
  for (const auto& [function, name] : functions) {
    const std::string text = name;
    for (const int64_t n : {0, 1, 31, 32, 33}) list.push_back(binary(function, text, {n}, {n}));
    list.push_back(binary(function, text + " row", {2, 3, 33}, {1, 1, 33}));
    list.push_back(binary(function, text + " column", {5, 7}, {5, 1}));
    list.push_back(binary(function, text + " both", {4, 1, 3}, {1, 5, 1}));
    list.push_back(binary(function, text + " scalar", {3, 5}, {1, 1}));
    list.push_back(binary(function, text + " middle", {2, 1, 5, 3}, {2, 4, 1, 3}));
    list.push_back(binary(function, text + " empty rows", {0, 3}, {1, 3}));
    list.push_back(binary(function, text + " slice", {2, 3, 13}, {2, 3, 13}, Layout::channel_slice));
    list.push_back(binary(function, text + " misaligned", {4, 17}, {1, 17}, Layout::misaligned));
    list.push_back(timed(binary(function, text + " large", {1 << 22}, {1 << 22})));
    list.push_back(timed(binary(function, text + " large row", {1 << 16, 64}, {1, 64})));
  }
  list.push_back(transposed());
  for (const int64_t n : {0, 1, 31, 33}) list.push_back(affine({n}, Layout::contiguous));
  list.push_back(affine({3, 5, 7}, Layout::channel_slice));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
