#include "kernels/dropout/dropout.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

OpCase make(double probability, const core::Shape& shape, Layout layout = Layout::contiguous,
            Fill fill = Fill::normal, bool based = false) {
  OpCase c;
  c.operation = "dropout";
  c.name = fmt::format("p={} {}{}", probability, shape.str(), based ? " base" : "");
  c.inputs = {{.name = "x", .shape = shape, .fill = fill, .layout = layout}};
  if (based) {
    c.inputs.push_back({.name = "base",
                        .shape = {1},
                        .fill = Fill::index,
                        .differentiable = false,
                        .dtype = core::DType::i64,
                        .limit = int64_t{1} << 31});
  }
  c.outputs = {{.name = "y", .shape = shape, .layout = layout}};
  constexpr uint64_t kSeed = (uint64_t{7} << 32) + 5;
  constexpr uint64_t kStream = (uint64_t{3} << 32) + 11;
  c.forward = runs<DropoutForward>(probability, kSeed, kStream, "in:x", "out:y", "in:base?");
  c.backward = runs<DropoutBackward>(probability, kSeed, kStream, "grad_out:y", "grad_in:x", "in:base?");
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.0;
  c.flops = static_cast<double>(shape.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const core::Shape& shape : {core::Shape{0}, core::Shape{1}, core::Shape{31}, core::Shape{32},
                                   core::Shape{33}, core::Shape{3, 5, 7}, core::Shape{131}}) {
    list.push_back(make(0.3, shape));
  }
  for (const double probability : {0.0, 0.5, 0.999, 1.0}) list.push_back(make(probability, {5, 13}));
  list.push_back(make(0.5, {3, 5, 7}, Layout::channel_slice));
  list.push_back(make(0.5, {2, 70}, Layout::channel_slice));
  list.push_back(make(0.5, {67}, Layout::misaligned));
  list.push_back(make(0.5, {3, 40}, Layout::contiguous, Fill::extreme));
  list.back().gradcheck = false;  // no differences across infinities
  list.push_back(make(0.5, {3, 45}, Layout::contiguous, Fill::normal, true));
  list.push_back(timed(make(0.1, {16, 200, 256})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
