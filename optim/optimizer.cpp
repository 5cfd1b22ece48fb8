#include "optim/optimizer.h"

#include <cmath>
#include <set>

#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"
#include "optim/state.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

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
    const Tensor& first = parameters.front().second.value();
    MEDFUSION_CHECK(value.dtype() == first.dtype() && value.device() == first.device(),
                    "optimizer: {} has another dtype or device than {}", name, parameters.front().first);
    MEDFUSION_CHECK(value.contiguous(), "optimizer: {} is not contiguous", name);
    MEDFUSION_CHECK(value.numel() == 0 || places.insert(value.view().data).second,
                    "optimizer: {} is another parameter under a second name", name);
  }
}

std::vector<core::View> contiguous_gradients(const Parameters& parameters) {
  std::vector<core::View> views;
  for (const auto& [name, variable] : parameters) {
    const Tensor gradient = variable.gradient();
    MEDFUSION_CHECK(gradient.defined() && gradient.contiguous(), "optimizer: {} has no contiguous gradient",
                    name);
    views.push_back(gradient.view());
  }
  return views;
}

}  // namespace

Optimizer::Optimizer(Parameters parameters, std::vector<std::string> parts)
    : parameters_(std::move(parameters)), parts_(std::move(parts)), group_of_(parameters_.size(), 0) {
  check_parameters(parameters_);
  if (!parameters_.empty()) device_ = parameters_.front().second.value().device();
  for (const auto& [name, variable] : parameters_) {
    auto& tensors = state_.emplace_back();
    for (size_t i = 0; i < parts_.size(); ++i) {
      tensors.push_back(Tensor::zeros(variable.shape(), variable.dtype(), device_));
    }
  }
}

void Optimizer::step(double learning_rate, double grad_scale) {
  if (!std::isfinite(grad_scale)) return;
  const Tensor host = Tensor::from({scalar_count()}, next_scalars(learning_rate));
  if (!scalars_.defined()) scalars_ = Tensor::empty(host.shape(), DType::f64, device_);
  scalars_.copy_from(host);
  if (!grad_scale_.defined()) grad_scale_ = Tensor::empty({1}, DType::f64, device_);
  grad_scale_.fill(grad_scale);
  update(scalars_, grad_scale_);
}

size_t Optimizer::add_group(const std::set<std::string>& names) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (names.contains(parameters_[i].first)) group_of_[i] = group_rates_.size();
  }
  group_rates_.push_back(1.0);
  return group_rates_.size() - 1;
}

std::vector<double> Optimizer::next_scalars(double learning_rate) {
  ++steps_;
  std::vector<double> scalars;
  for (const double rate : group_rates_) {
    const std::vector<double> own = scalars_of(learning_rate * rate, steps_);
    scalars.insert(scalars.end(), own.begin(), own.end());
  }
  return scalars;
}

void Optimizer::update(const Tensor& scalars, const Tensor& grad_scale) const {
  const std::vector<core::View> gradients = contiguous_gradients(parameters_);
  std::vector<std::vector<Entry>> groups(group_rates_.size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Variable& variable = parameters_[i].second;
    std::vector<Entry>& entries = groups[group_of_[i]];
    entries.push_back({variable.rank() > 1, variable.value().view(), gradients[i], {}});
    for (const Tensor& part : state_[i]) entries.back().state.push_back(part.view());
  }
  const int64_t each = scalars.numel() / static_cast<int64_t>(groups.size());
  for (size_t group = 0; group < groups.size(); ++group) {
    const int64_t first = static_cast<int64_t>(group) * each;
    update(groups[group], scalars.slice(0, first, first + each).view(), grad_scale.view());
  }
}

void Optimizer::zero_grad() const {
  kernels::dispatch<kernels::ClearTensors>({contiguous_gradients(parameters_)}, device_.type);
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
  if (steps < 0) core::throw_input_error({file}, "optimizer state: expected a step >= 0, got {}", steps);
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

std::vector<double> AdamW::scalars_of(double learning_rate, int64_t step) const {
  const auto t = static_cast<double>(step);
  return {learning_rate, 1.0 - std::pow(options_.beta1, t), 1.0 - std::pow(options_.beta2, t)};
}

void AdamW::update(const std::vector<Entry>& entries, const core::View& scalars,
                   const core::View& grad_scale) const {
  kernels::AdamWStep step{.beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.eps,
                          .scalars = scalars,
                          .grad_scale = grad_scale,
                          .entries = {}};
  for (const Entry& e : entries) {
    const bool decay = e.decayed || !options_.decay_matrices_only;
    step.entries.push_back(
        {decay ? options_.weight_decay : 0.0, e.value, e.gradient, e.state[0], e.state[1]});
  }
  kernels::dispatch(step, scalars.device.type);
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

std::vector<double> SGD::scalars_of(double learning_rate, int64_t /*step*/) const { return {learning_rate}; }

void SGD::update(const std::vector<Entry>& entries, const core::View& scalars,
                 const core::View& grad_scale) const {
  kernels::SgdStep step{.momentum = options_.momentum,
                        .nesterov = options_.nesterov,
                        .scalars = scalars,
                        .grad_scale = grad_scale,
                        .entries = {}};
  for (const Entry& e : entries) {
    const bool decay = e.decayed || !options_.decay_matrices_only;
    step.entries.push_back({decay ? options_.weight_decay : 0.0, e.value, e.gradient,
                            e.state.empty() ? core::View{} : e.state[0]});
  }
  kernels::dispatch(step, scalars.device.type);
}

void clip_gradients(const Parameters& parameters, double largest, const Tensor& norm,
                    const Tensor& grad_scale, const Tensor& loss) {
  const core::DeviceType device = norm.device().type;
  const Tensor squared = Tensor::empty({1}, DType::f64, norm.device());
  kernels::dispatch<kernels::SquaredNorm>({contiguous_gradients(parameters), squared.view()}, device);
  kernels::dispatch<kernels::ClipByNorm>(
      {largest, squared.view(), norm.view(), grad_scale.view(), loss.view()}, device);
}

double gradient_norm(const Parameters& parameters) {
  if (parameters.empty()) return 0.0;
  const core::Device device = parameters.front().second.value().device();
  const Tensor norm = Tensor::empty({1}, DType::f64, device);
  clip_gradients(parameters, 0.0, norm, Tensor::empty({1}, DType::f64, device));
  return norm.item();
}

double clip_factor(double norm, double largest) {
  MEDFUSION_CHECK(largest > 0.0, "clip_factor: expected a largest norm above 0, got {}", largest);
  const double factor = largest / (norm + 1e-6);
  return factor > 1.0 ? 1.0 : factor;
}

}  // namespace medfusion::optim
