#include "layers/functional/loss.h"

#include "kernels/loss/loss.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

kernels::LossFormula formula_of(const LossOptions& o) {
  core::check_ranges(o, "multilabel_loss");
  kernels::LossFormula formula{.label_smoothing = o.label_smoothing};
  if (o.kind == LossKind::focal) {
    MEDFUSION_CHECK(o.focal_alpha <= 1.0, "multilabel_loss: expected a focal alpha <= 1, got {}",
                    o.focal_alpha);
    formula.positive_gamma = formula.negative_gamma = o.focal_gamma;
    if (o.focal_alpha >= 0.0) {
      formula.positive_scale = o.focal_alpha;
      formula.negative_scale = 1.0 - o.focal_alpha;
    }
  } else if (o.kind == LossKind::asymmetric) {
    formula.positive_gamma = o.asymmetric_gamma_positive;
    formula.negative_gamma = o.asymmetric_gamma_negative;
    formula.clip = o.asymmetric_clip;
  }
  return formula;
}

// Of the dtype of the logits, with rows of one stride.
Tensor prepared(const Tensor& tensor, core::DType dtype) {
  const Tensor converted = tensor.to(dtype);
  return converted.view().rows_uniform() ? converted : converted.to_contiguous();
}

}  // namespace

Variable multilabel_loss(const Variable& logits, const Tensor& targets, const LossOptions& options) {
  const core::DType dtype = logits.dtype();
  MEDFUSION_CHECK(dtype == core::DType::f32 || dtype == core::DType::f64,
                  "multilabel_loss: expected logits in f32 or f64, got {}", core::name_of(dtype));
  MEDFUSION_CHECK(logits.rank() == 2, "multilabel_loss: expected logits [batch, labels], got {}",
                  logits.shape().str());
  MEDFUSION_CHECK(targets.shape() == logits.shape(), "multilabel_loss: expected targets {}, got {}",
                  logits.shape().str(), targets.shape().str());
  MEDFUSION_CHECK(core::is_floating(targets.dtype()), "multilabel_loss: expected float targets, got {}",
                  core::name_of(targets.dtype()));
  const kernels::LossFormula formula = formula_of(options);
  Tensor weight;
  if (options.positive_weight.defined()) {
    const core::Shape expected{logits.size(1)};
    MEDFUSION_CHECK(options.positive_weight.shape() == expected,
                    "multilabel_loss: expected a positive weight {}, got {}", expected.str(),
                    options.positive_weight.shape().str());
    weight = options.positive_weight.to(dtype).to_contiguous().to(logits.device());
  }
  const auto weight_view = [](const Tensor& w) { return w.defined() ? w.view() : core::View{}; };

  const core::Device device = logits.device();
  const Tensor x = prepared(logits.value(), dtype);
  const Tensor t = prepared(targets, dtype);
  const Tensor loss = Tensor::empty({1}, dtype, device);
  const Tensor known = Tensor::empty({1}, core::DType::i64, device);
  kernels::dispatch<kernels::LossForward>(
      {formula, x.view(), t.view(), weight_view(weight), loss.view(), known.view()}, device.type);
  return Variable::result(
      "multilabel_loss", loss, {logits}, [=](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad_logits = Tensor::empty(x.shape(), dtype, device);
        kernels::dispatch<kernels::LossBackward>(
            {formula, x.view(), t.view(), weight_view(weight), known.view(), g.view(), grad_logits.view()},
            device.type);
        inputs.accumulate(0, grad_logits);
      });
}

}  // namespace medfusion::layers
