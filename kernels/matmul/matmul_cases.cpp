#include "kernels/matmul/matmul.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

struct Options {
  int64_t batch = 0;  // 0: no batch dimension
  bool transpose_a = false, transpose_b = false;
  bool bias = false, accumulate = false;
  Layout layout = Layout::contiguous;
  Fill fill = Fill::normal;
};

Shape matrix(int64_t batch, int64_t rows, int64_t columns, bool swapped) {
  if (swapped) std::swap(rows, columns);
  return batch == 0 ? Shape{rows, columns} : Shape{batch, rows, columns};
}

OpCase make(int64_t m, int64_t n, int64_t k, const Options& o = {}) {
  OpCase c;
  c.operation = "matmul";
  c.name = fmt::format("batch={} m={} n={} k={}{}{}{}{}", o.batch, m, n, k, o.transpose_a ? " a^T" : "",
                       o.transpose_b ? " b^T" : "", o.bias ? " bias" : "", o.accumulate ? " accumulate" : "");
  if (o.layout == Layout::channel_slice) c.name += " slice";
  if (o.layout == Layout::misaligned) c.name += " misaligned";
  if (o.fill == Fill::extreme) c.name += " infinite";
  c.inputs = {
      {.name = "a", .shape = matrix(o.batch, m, k, o.transpose_a), .fill = o.fill, .layout = o.layout},
      {.name = "b", .shape = matrix(o.batch, k, n, o.transpose_b), .layout = o.layout}};
  if (o.bias) c.inputs.push_back({.name = "bias", .shape = {n}, .layout = o.layout});
  c.outputs = {{.name = "c", .shape = matrix(o.batch, m, n, false), .layout = o.layout}};
  const std::string a = o.transpose_a ? "a^T" : "a", b = o.transpose_b ? "b^T" : "b";
  c.forward = runs<MatmulForward>("in:" + a, "in:" + b, "in:bias?", "out:c", o.accumulate);
  if (o.accumulate) c.prepare_forward = [](CaseTensors& t) { t.out("c").fill(0.75); };
  c.backward = runs<MatmulBackward>("in:" + a, "in:" + b, "grad_out:c", "grad_in:" + a, "grad_in:" + b,
                                    "grad_in:bias?");
  const auto matrices = static_cast<double>(std::max<int64_t>(1, o.batch));
  c.flops = 2.0 * matrices * static_cast<double>(m * n * k);
  c.bytes = 4.0 * matrices * static_cast<double>(m * n + m * k + k * n);
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{0, 3, 2},
                                {3, 0, 2},
                                {3, 2, 0},
                                {1, 1, 1},
                                {1, 33, 31},
                                {31, 32, 33},
                                {33, 1, 32},
                                {7, 17, 65},
                                {6, 16, 5},
                                {13, 70, 40},
                                {2, 5, 300},
                                {70, 33, 9}}) {
    list.push_back(make(m, n, k));
    list.push_back(make(m, n, k, {.transpose_a = true, .bias = true}));
    list.push_back(make(m, n, k, {.transpose_b = true, .bias = true}));
  }
  for (const Layout layout : {Layout::channel_slice, Layout::misaligned}) {
    list.push_back(make(9, 33, 17, {.layout = layout}));
    list.push_back(
        make(9, 33, 17, {.transpose_a = true, .transpose_b = true, .bias = true, .layout = layout}));
    list.push_back(make(5, 7, 3, {.batch = 2, .transpose_b = true, .accumulate = true, .layout = layout}));
  }
  list.push_back(make(5, 18, 3, {.batch = 3}));
  list.push_back(make(5, 18, 3, {.batch = 3, .transpose_a = true, .bias = true}));
  list.push_back(make(5, 18, 3, {.batch = 1, .transpose_b = true, .accumulate = true}));
  list.push_back(make(5, 18, 3, {.bias = true, .accumulate = true}));
  list.push_back(make(4, 18, 1, {.fill = Fill::extreme}));
  list.back().gradcheck = false;  // no differences across infinities
  list.back().backward = nullptr;

  list.push_back(timed(make(512, 512, 512)));
  list.push_back(timed(make(1024, 1024, 1024)));
  list.push_back(timed(make(4096, 384, 128, {.transpose_b = true, .bias = true})));
  list.push_back(timed(make(16, 1000, 1024, {.transpose_b = true, .bias = true})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
