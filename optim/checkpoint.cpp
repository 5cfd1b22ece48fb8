#include "optim/checkpoint.h"

namespace medfusion::optim {

NamedTensors weights_of(const layers::Module& network) {
  NamedTensors result;
  for (const auto& [name, variable] : network.parameters()) result[name] = variable.value();
  for (const auto& [name, tensor] : network.buffers()) result[name] = tensor;
  return result;
}

bool passed_over(const std::string& name) {
  return name.ends_with("num_batches_tracked") || name.starts_with("optimizer.") || name.starts_with("ema.");
}

void load_weights(layers::Module& network, const NamedTensors& tensors, const std::string& file) {
  const NamedTensors own = weights_of(network);
  std::string first;
  size_t missing = 0;
  for (const auto& [name, tensor] : own) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      if (missing++ == 0) first = name;
    } else if (!(found->second.shape() == tensor.shape())) {
      core::throw_input_error({file}, "tensor '{}': expected shape {}, got {}", name, tensor.shape().str(),
                              found->second.shape().str());
    }
  }
  if (missing > 0) {
    core::throw_input_error({file}, "{} of the network's {} tensors are missing, the first is '{}'", missing,
                            own.size(), first);
  }
  // Only now, when nothing can be refused any more, is the network touched.
  for (const auto& [name, tensor] : own) tensor.copy_from(tensors.at(name));
}

}  // namespace medfusion::optim
