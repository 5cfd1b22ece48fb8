#include "layers/module.h"

#include <xxhash.h>

#include <cmath>

#include "core/random.h"

namespace medfusion::layers {
namespace {

void fill(const std::string& name, const core::Tensor& parameter, const Init& init, uint64_t seed) {
  const core::Tensor tensor = core::Tensor::empty(parameter.shape(), parameter.dtype());  // on the host
  const core::Philox philox(seed, XXH64(name.data(), name.size(), 0));
  const int64_t fan_out = tensor.rank() > 0 ? tensor.size(0) : 1;
  const int64_t fan_in = tensor.rank() > 1 && fan_out > 0 ? tensor.numel() / fan_out : 1;
  const double bound = std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
  const double deviation =
      init.kind == Init::Kind::kaiming_normal ? std::sqrt(2.0 / static_cast<double>(fan_in)) : init.value;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    double value = init.value;
    switch (init.kind) {
      case Init::Kind::constant:
        break;
      case Init::Kind::normal:
      case Init::Kind::kaiming_normal:
        value = deviation * philox.normal(static_cast<uint64_t>(i));
        break;
      case Init::Kind::xavier_uniform:
        value = bound * (2.0 * static_cast<double>(philox.uniform(static_cast<uint64_t>(i))) - 1.0);
        break;
    }
    if (tensor.dtype() == core::DType::f64) {
      tensor.data<double>()[i] = value;
    } else {
      tensor.data<float>()[i] = static_cast<float>(value);
    }
  }
  parameter.copy_from(tensor);
}

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() || name.empty() ? prefix + name : prefix + "." + name;
}

}  // namespace

template <class Visit>
void Module::visit(const std::string& prefix, const Visit& visit_module) const {
  visit_module(prefix, *this);
  for (const auto& [name, child] : children_) child->visit(join(prefix, name), visit_module);
}

std::vector<std::pair<std::string, core::Variable>> Module::parameters() const {
  std::vector<std::pair<std::string, core::Variable>> result;
  visit("", [&](const std::string& prefix, const Module& module) {
    for (const auto& p : module.parameters_) result.emplace_back(join(prefix, p.name), p.variable);
  });
  return result;
}

std::vector<std::pair<std::string, core::Tensor>> Module::buffers() const {
  std::vector<std::pair<std::string, core::Tensor>> result;
  visit("", [&](const std::string& prefix, const Module& module) {
    for (const auto& [name, tensor] : module.buffers_) result.emplace_back(join(prefix, name), tensor);
  });
  return result;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, variable] : parameters()) count += variable.value().numel();
  return count;
}

void Module::initialize(uint64_t seed) {
  visit("", [&](const std::string& prefix, const Module& module) {
    for (const auto& p : module.parameters_) fill(join(prefix, p.name), p.variable.value(), p.init, seed);
  });
}

core::Variable Module::add_parameter(const std::string& name, const core::Shape& shape, Init init,
                                     const TensorOptions& options) {
  core::Variable variable(core::Tensor::zeros(shape, options.dtype, options.device), true);
  parameters_.push_back({name, variable, init});
  return variable;
}

core::Tensor Module::add_buffer(const std::string& name, const core::Shape& shape, double value,
                                const TensorOptions& options) {
  core::Tensor tensor = core::Tensor::full(shape, value, options.dtype, options.device);
  buffers_.emplace_back(name, tensor);
  return tensor;
}

}  // namespace medfusion::layers
