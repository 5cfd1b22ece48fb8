#include <limits>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

struct Options {
  double smoothing = 0.0;
  bool weighted = false;
  Layout layout = Layout::contiguous;
  int64_t first_unknown = 1, unknown_every = 2;  // rows in which the target of one label is unknown
};

OpCase make(const std::string& name, const core::Shape& shape, const Options& options = {}) {
  OpCase c;
  c.operation = "cross_entropy";
  c.name = name + (name.empty() ? "" : " ") + shape.str();
  c.inputs = {{.name = "logits", .shape = shape, .layout = options.layout},
              {.name = "targets",
               .shape = shape,
               .fill = Fill::uniform,
               .differentiable = false,
               .layout = options.layout}};
  if (options.weighted) {
    c.inputs.push_back(
        {.name = "weight", .shape = {shape[1]}, .fill = Fill::positive, .differentiable = false});
  }
  c.outputs = {{.name = "loss", .shape = {1}}, {.name = "total", .shape = {1}, .differentiable = false}};
  c.prepare_forward = [options](CaseTensors& t) {
    const core::Tensor& targets = t.in("targets");
    for (int64_t row = options.first_unknown; row < targets.size(0); row += options.unknown_every) {
      const int64_t label = row % targets.size(1);
      targets.slice(0, row, row + 1)
          .slice(1, label, label + 1)
          .fill(row % 3 == 0 ? -1.0 : std::numeric_limits<double>::quiet_NaN());
    }
  };
  c.forward = runs<CrossEntropyForward>(options.smoothing, "in:logits", "in:targets", "in:weight?",
                                        "out:loss", "out:total");
  c.backward = runs<CrossEntropyBackward>(options.smoothing, "in:logits", "in:targets", "in:weight?",
                                          "out:total", "grad_out:loss", "grad_in:logits");
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.5;  // logits, targets, grad_logits
  c.flops = 20.0 * static_cast<double>(shape.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  // The last are more than one task, and more labels than a warp has lanes.
  for (const core::Shape& shape :
       {core::Shape{0, 5}, core::Shape{1, 1}, core::Shape{2, 31}, core::Shape{3, 32}, core::Shape{5, 33},
        core::Shape{33, 7}, core::Shape{700, 3}, core::Shape{4, 1000}}) {
    list.push_back(make("", shape));
  }
  list.push_back(make("smoothed", {9, 8}, {.smoothing = 0.2}));
  list.push_back(make("weighted", {9, 8}, {.weighted = true}));
  list.push_back(make("smoothed and weighted", {33, 14}, {.smoothing = 0.1, .weighted = true}));
  list.push_back(make("slice", {5, 9}, {.smoothing = 0.1, .layout = Layout::channel_slice}));
  list.push_back(make("misaligned", {3, 17}, {.layout = Layout::misaligned}));
  list.push_back(make("all unknown", {3, 7}, {.first_unknown = 0, .unknown_every = 1}));
  list.push_back(timed(make("large", {1 << 14, 8}, {.unknown_every = 1 << 12})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
