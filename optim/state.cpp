#include "optim/state.h"

#include <cmath>

#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"

namespace medfusion::optim {

void check_state(const NamedTensors& own, const NamedTensors& given, const std::string& what,
                 const std::string& file) {
  const auto describe = [](const core::Tensor& t) {
    return fmt::format("{} {}", core::name_of(t.dtype()), t.shape().str());
  };
  for (const auto& [name, tensor] : own) {
    const auto found = given.find(name);
    if (found == given.end()) {
      core::throw_input_error({file}, "{} state: expected a tensor {}, got none", what, name);
    }
    const bool same = found->second.shape() == tensor.shape() && found->second.dtype() == tensor.dtype();
    if (!same) {
      core::throw_input_error({file}, "{} state: {}: expected {}, got {}", what, name, describe(tensor),
                              describe(found->second));
    }
  }
  for (const auto& [name, tensor] : given) {
    if (!own.contains(name)) {
      core::throw_input_error({file}, "{} state: the model has no {}", what, name);
    }
  }
}

// The sum of the squares of f32 in f64 cannot overflow: it is finite where all of them are. Only where it is
// not are the tensors copied to the host.
void check_finite(const NamedTensors& tensors, const std::string& what) {
  std::map<core::DeviceType, std::vector<std::pair<std::string, core::Tensor>>> by_device;
  std::vector<std::pair<std::string, core::Tensor>> doubtful;
  for (const auto& [name, tensor] : tensors) {
    if (!core::is_floating(tensor.dtype())) continue;
    const bool in_kernel = tensor.dtype() == core::DType::f32 && tensor.contiguous();
    (in_kernel ? by_device[tensor.device().type] : doubtful).emplace_back(name, tensor);
  }
  for (const auto& [device, group] : by_device) {
    const core::Tensor sum = core::Tensor::empty({1}, core::DType::f64, group.front().second.device());
    kernels::SquaredNorm norm{{}, sum.view()};
    for (const auto& [name, tensor] : group) norm.x.push_back(tensor.view());
    kernels::dispatch(norm, device);
    if (!std::isfinite(sum.item())) doubtful.insert(doubtful.end(), group.begin(), group.end());
  }
  for (const auto& [name, tensor] : doubtful) {
    const core::Tensor host = tensor.to(core::Device{});
    for (int64_t i = 0; i < host.numel(); ++i) {
      if (!std::isfinite(host.at(i)))
        throw core::Error(fmt::format("{}: {} holds {}, so it is not written", what, name, host.at(i)));
    }
  }
}

}  // namespace medfusion::optim
