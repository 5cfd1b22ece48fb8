#include "kernels/embedding/embedding.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

OpCase make(const std::string& name, int64_t rows, int64_t width, int64_t count,
            Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "embedding";
  c.name = fmt::format("{} V={} D={} N={}", name, rows, width, count);
  c.inputs = {{.name = "weight", .shape = {rows, width}, .layout = layout},
              {.name = "ids",
               .shape = {count},
               .fill = Fill::index,
               .differentiable = false,
               .dtype = core::DType::i64,
               .limit = rows}};
  c.outputs = {{.name = "y", .shape = {count, width}, .layout = layout}};
  c.forward = runs<EmbeddingForward>("in:weight", "in:ids", "out:y");
  c.backward = runs<EmbeddingBackward>("in:ids", "grad_out:y", "grad_in:weight");
  c.bytes = 8.0 * static_cast<double>(count * width);
  c.backward_bytes = 1.0;
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  list.push_back(make("one", 1, 1, 1));
  list.push_back(make("no id", 3, 4, 0));
  list.push_back(make("no column", 3, 0, 5));
  list.push_back(make("all the same", 1, 7, 9));
  for (const int64_t width : {31, 32, 33}) list.push_back(make("ragged", 7, width, 20));
  list.push_back(make("rare", 40, 5, 6));  // most rows unused
  list.push_back(make("slice", 6, 5, 11, Layout::channel_slice));
  list.push_back(make("misaligned", 6, 9, 11, Layout::misaligned));
  list.push_back(timed(make("large", 1000, 128, 16 * 64)));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
