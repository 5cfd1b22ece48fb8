#include <limits>

#include "kernels/loss/loss.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

struct Options {
  bool weighted = false;
  Layout layout = Layout::contiguous;
  bool all_unknown = false;
};

OpCase make(const LossFormula& formula, const std::string& name, const core::Shape& shape,
            const Options& options = {}) {
  OpCase c;
  c.operation = "loss";
  c.name = name + " " + shape.str();
  c.inputs = {{.name = "logits", .shape = shape, .layout = options.layout},
              {.name = "targets",
               .shape = shape,
               .fill = Fill::targets,
               .differentiable = false,
               .layout = options.layout}};
  if (options.weighted) {
    c.inputs.push_back(
        {.name = "weight", .shape = {shape[1]}, .fill = Fill::positive, .differentiable = false});
  }
  c.outputs = {{.name = "loss", .shape = {1}},
               {.name = "known", .shape = {1}, .differentiable = false, .dtype = core::DType::i64}};
  if (options.all_unknown) {
    c.prepare_forward = [](CaseTensors& t) {
      t.in("targets").fill(std::numeric_limits<double>::quiet_NaN());
    };
  }
  c.forward = runs<LossForward>(formula, "in:logits", "in:targets", "in:weight?", "out:loss", "out:known");
  c.backward = runs<LossBackward>(formula, "in:logits", "in:targets", "in:weight?", "out:known",
                                  "grad_out:loss", "grad_in:logits");
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.5;  // logits, targets, grad_logits
  c.flops = 40.0 * static_cast<double>(shape.numel());
  return c;
}

const RegisterCases cases([] {
  const std::pair<const char*, LossFormula> formulas[] = {
      {"cross-entropy", {}},
      {"cross-entropy smoothed", {.label_smoothing = 0.2}},
      {"focal", {.positive_gamma = 2.0, .negative_gamma = 2.0}},
      {"focal alpha",
       {.positive_scale = 0.25, .negative_scale = 0.75, .positive_gamma = 1.5, .negative_gamma = 1.5}},
      {"asymmetric", {.positive_gamma = 1.0, .negative_gamma = 4.0, .clip = 0.05}},
      {"asymmetric no focus", {.clip = 0.01, .label_smoothing = 0.1}},
  };
  std::vector<OpCase> list;
  for (const auto& [name, formula] : formulas) {
    // The last is more than one task.
    for (const core::Shape& shape :
         {core::Shape{0, 5}, core::Shape{1, 1}, core::Shape{2, 31}, core::Shape{3, 32}, core::Shape{1, 33},
          core::Shape{33, 14}, core::Shape{700, 3}}) {
      list.push_back(make(formula, name, shape));
    }
    list.push_back(make(formula, std::string(name) + " weighted", {5, 14}, {.weighted = true}));
    list.push_back(make(formula, std::string(name) + " slice", {5, 9}, {.layout = Layout::channel_slice}));
    list.push_back(make(formula, std::string(name) + " misaligned", {3, 17}, {.layout = Layout::misaligned}));
    list.push_back(make(formula, std::string(name) + " all unknown", {3, 7}, {.all_unknown = true}));
    list.push_back(timed(make(formula, std::string(name) + " large", {1 << 14, 14})));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
