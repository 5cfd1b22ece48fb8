#include "optim/state.h"

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

}  // namespace medfusion::optim
