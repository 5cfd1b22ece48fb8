#include "optim/optimizer.h"

#include <cmath>
#include <set>

#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"
#include "optim/state.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr const char* kStep = "step";

void check_parameters(const Parameters& parameters) {
  std::set<std::string> names;
  std::set<const void*> places;
  for (const auto& [name, variable] : parameters) {
    MEDFUSION_CHECK(names.insert(name).second, "optimizer: two parameters are named {}", name);
    MEDFUSION_CHECK(variable.requires_grad() && variable.gradient().defined(),
                    "optimizer: {} is not a leaf with a gradient", name);
    const Tensor& value = variable.value();
    MEDFUSION_CHECK(value.dtype() == core::DType::f32 || value.dtype() == core::DType::f64,
                    "optimizer: {}: expected f32 or f64, got {}", name, core::name_of(value.dtype()));
    MEDFUSION_CHECK(value.contiguous(), "optimizer: {} is not contiguous", name);
    MEDFUSION_CHECK(value.numel() == 0 || places.insert(value.view().data).second,
                    "optimizer: {} is another parameter under a second name", name);
  }
}

}  // namespace

Optimizer::Optimizer(Parameters parameters, std::vector<std::string> parts)
    : parameters_(std::move(parameters)), parts_(std::move(parts)) {
  check_parameters(parameters_);
  for (const auto& [name, variable] : parameters_) {
    auto& tensors = state_.emplace_back();
    for (size_t i = 0; i < parts_.size(); ++i) {
      tensors.push_back(Tensor::zeros(variable.shape(), variable.dtype(), variable.value().device()));
    }
  }
}

void Optimizer::step(double learning_rate, double grad_scale) {
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, variable] = parameters_[i];
    const Tensor gradient = variable.gradient();
    MEDFUSION_CHECK(gradient.contiguous(), "optimizer: the gradient of {} is not contiguous", name);
    update({learning_rate, grad_scale, steps_, variable.rank() > 1, variable.value().view(), gradient.view(),
            state_[i]});
  }
}

void Optimizer::zero_grad() const {
  for (const auto& [name, variable] : parameters_) variable.gradient().fill(0.0);
}

std::map<std::string, Tensor> Optimizer::state_tensors() const {
  std::map<std::string, Tensor> result{{kStep, Tensor::from<int64_t>({1}, {steps_})}};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (size_t part = 0; part < parts_.size(); ++part) {
      result.emplace(parameters_[i].first + "." + parts_[part], state_[i][part]);
    }
  }
  return result;
}

void Optimizer::load_state(const std::map<std::string, Tensor>& state, const std::string& file) {
  const std::map<std::string, Tensor> own = state_tensors();
  check_state(own, state, "optimizer", file);
  const int64_t steps = state.at(kStep).data<int64_t>()[0];
  if (steps < 0)
    core::throw_input_error({file}, fmt::format("optimizer state: expected a step >= 0, got {}", steps));
  for (const auto& [name, tensor] : own) tensor.copy_from(state.at(name));
  steps_ = steps;
}

AdamW::AdamW(Parameters parameters, const AdamWOptions& options)
    : Optimizer(std::move(parameters), {"m", "v"}), options_(options) {
  for (const double beta : {options.beta1, options.beta2}) {
    MEDFUSION_CHECK(beta >= 0.0 && beta < 1.0, "AdamW: expected betas in [0, 1), got {}", beta);
  }
  MEDFUSION_CHECK(options.eps >= 0.0 && options.weight_decay >= 0.0,
                  "AdamW: expected eps and weight decay >= 0, got {} and {}", options.eps,
                  options.weight_decay);
}

void AdamW::update(const Update& u) const {
  const bool decay = u.decayed || !options_.decay_matrices_only;
  kernels::dispatch<kernels::AdamWStep>({.learning_rate = u.learning_rate,
                                         .beta1 = options_.beta1,
                                         .beta2 = options_.beta2,
                                         .eps = options_.eps,
                                         .weight_decay = decay ? options_.weight_decay : 0.0,
                                         .grad_scale = u.grad_scale,
                                         .step = u.step,
                                         .parameter = u.value,
                                         .gradient = u.gradient,
                                         .first_moment = u.state[0].view(),
                                         .second_moment = u.state[1].view()},
                                        u.value.device.type);
}

SGD::SGD(Parameters parameters, const SgdOptions& options)
    : Optimizer(std::move(parameters),
                options.momentum != 0.0 ? std::vector<std::string>{"velocity"} : std::vector<std::string>{}),
      options_(options) {
  MEDFUSION_CHECK(options.momentum >= 0.0 && options.momentum < 1.0,
                  "SGD: expected a momentum in [0, 1), got {}", options.momentum);
  MEDFUSION_CHECK(!options.nesterov || options.momentum > 0.0, "SGD: nesterov needs a momentum above 0");
  MEDFUSION_CHECK(options.weight_decay >= 0.0, "SGD: expected a weight decay >= 0, got {}",
                  options.weight_decay);
}

void SGD::update(const Update& u) const {
  const bool decay = u.decayed || !options_.decay_matrices_only;
  kernels::dispatch<kernels::SgdStep>({.learning_rate = u.learning_rate,
                                       .momentum = options_.momentum,
                                       .weight_decay = decay ? options_.weight_decay : 0.0,
                                       .grad_scale = u.grad_scale,
                                       .nesterov = options_.nesterov,
                                       .parameter = u.value,
                                       .gradient = u.gradient,
                                       .velocity = u.state.empty() ? core::View{} : u.state[0].view()},
                                      u.value.device.type);
}

double gradient_norm(const Parameters& parameters) {
  if (parameters.empty()) return 0.0;
  const core::Device device = parameters.front().second.value().device();
  const auto count = static_cast<int64_t>(parameters.size());
  const Tensor squared = Tensor::zeros({count}, core::DType::f64, device);
  for (int64_t i = 0; i < count; ++i) {
    const auto& [name, variable] = parameters[static_cast<size_t>(i)];
    const Tensor gradient = variable.gradient();
    MEDFUSION_CHECK(gradient.defined() && gradient.contiguous(),
                    "gradient_norm: {} has no contiguous gradient", name);
    kernels::dispatch<kernels::SquaredNorm>({gradient.view(), squared.slice(0, i, i + 1).view()},
                                            device.type);
  }
  const Tensor squares = squared.to(core::Device{});  // one transfer for all
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += squares.at(i);
  return std::sqrt(sum);
}

double clip_factor(double norm, double largest) {
  MEDFUSION_CHECK(largest > 0.0, "clip_factor: expected a largest norm above 0, got {}", largest);
  const double factor = largest / (norm + 1e-6);
  return factor > 1.0 ? 1.0 : factor;
}

}  // namespace medfusion::optim
