#include "layers/functional/loss.h"

#include "kernels/cross_entropy/cross_entropy.h"
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

// What the kernels of both losses take.
struct Operands {
  Tensor logits, targets, weight;  // weight [labels], or undefined

  core::DType dtype() const { return logits.dtype(); }
  core::Device device() const { return logits.device(); }
  core::View weight_view() const { return weight.defined() ? weight.view() : core::View{}; }
};

Operands operands_of(const char* name, const Variable& logits, const Tensor& targets,
                     const LossOptions& options) {
  const core::DType dtype = logits.dtype();
  MEDFUSION_CHECK(dtype == core::DType::f32 || dtype == core::DType::f64,
                  "{}: expected logits in f32 or f64, got {}", name, core::name_of(dtype));
  MEDFUSION_CHECK(logits.rank() == 2, "{}: expected logits [batch, labels], got {}", name,
                  logits.shape().str());
  MEDFUSION_CHECK(targets.shape() == logits.shape(), "{}: expected targets {}, got {}", name,
                  logits.shape().str(), targets.shape().str());
  MEDFUSION_CHECK(core::is_floating(targets.dtype()), "{}: expected float targets, got {}", name,
                  core::name_of(targets.dtype()));
  Operands result{prepared(logits.value(), dtype), prepared(targets, dtype), {}};
  if (options.positive_weight.defined()) {
    const core::Shape expected{logits.size(1)};
    MEDFUSION_CHECK(options.positive_weight.shape() == expected, "{}: expected a positive weight {}, got {}",
                    name, expected.str(), options.positive_weight.shape().str());
    result.weight = options.positive_weight.to(dtype).to_contiguous().to(logits.device());
  }
  return result;
}

}  // namespace

Variable multilabel_loss(const Variable& logits, const Tensor& targets, const LossOptions& options) {
  const Operands o = operands_of("multilabel_loss", logits, targets, options);
  const kernels::LossFormula formula = formula_of(options);
  const Tensor loss = Tensor::empty({1}, o.dtype(), o.device());
  const Tensor known = Tensor::empty({1}, core::DType::i64, o.device());
  kernels::dispatch<kernels::LossForward>(
      {formula, o.logits.view(), o.targets.view(), o.weight_view(), loss.view(), known.view()},
      o.device().type);
  return Variable::result(
      "multilabel_loss", loss, {logits}, [=](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad_logits = Tensor::empty(o.logits.shape(), o.dtype(), o.device());
        kernels::dispatch<kernels::LossBackward>({formula, o.logits.view(), o.targets.view(), o.weight_view(),
                                                  known.view(), g.view(), grad_logits.view()},
                                                 o.device().type);
        inputs.accumulate(0, grad_logits);
      });
}

Variable cross_entropy_loss(const Variable& logits, const Tensor& targets, const LossOptions& options) {
  const Operands o = operands_of("cross_entropy_loss", logits, targets, options);
  core::check_ranges(options, "cross_entropy_loss");
  MEDFUSION_CHECK(options.kind == LossKind::bce, "cross_entropy_loss: expected bce, got {}",
                  core::text_of(options.kind));
  const double smoothing = options.label_smoothing;
  const Tensor loss = Tensor::empty({1}, o.dtype(), o.device());
  const Tensor total = Tensor::empty({1}, o.dtype(), o.device());
  kernels::dispatch<kernels::CrossEntropyForward>(
      {smoothing, o.logits.view(), o.targets.view(), o.weight_view(), loss.view(), total.view()},
      o.device().type);
  return Variable::result("cross_entropy_loss", loss, {logits},
                          [=](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_logits = Tensor::empty(o.logits.shape(), o.dtype(), o.device());
                            kernels::dispatch<kernels::CrossEntropyBackward>(
                                {smoothing, o.logits.view(), o.targets.view(), o.weight_view(), total.view(),
                                 g.view(), grad_logits.view()},
                                o.device().type);
                            inputs.accumulate(0, grad_logits);
                          });
}

double loss_weight(const Tensor& targets, bool exclusive, const Tensor& positive_weight) {
  const int64_t labels = targets.size(1);
  double total = 0.0;
  for (int64_t row = 0; row < targets.size(0); ++row) {
    double weight = 0.0;
    int64_t known = 0;
    for (int64_t label = 0; label < labels; ++label) {
      const double target = targets.at(row * labels + label);
      if (!(target >= 0.0)) continue;
      ++known;
      weight += target * (positive_weight.defined() ? positive_weight.at(label) : 1.0);
    }
    if (exclusive) {
      total += known == labels ? weight : 0.0;
    } else {
      total += static_cast<double>(known);
    }
  }
  return total;
}

Variable label_loss(const Variable& logits, const Tensor& targets, const LossOptions& options) {
  return options.exclusive ? cross_entropy_loss(logits, targets, options)
                           : multilabel_loss(logits, targets, options);
}

}  // namespace medfusion::layers
