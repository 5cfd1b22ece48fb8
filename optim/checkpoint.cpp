#include "optim/checkpoint.h"

namespace medfusion::optim {
namespace {

bool passed_over(const std::string& name) {
  static const std::string counter = "num_batches_tracked";
  const bool counts = name.size() >= counter.size() &&
                      name.compare(name.size() - counter.size(), counter.size(), counter) == 0;
  return counts || name.rfind("optimizer.", 0) == 0 || name.rfind("ema.", 0) == 0;
}

}  // namespace

NamedTensors weights_of(const layers::Module& network) {
  NamedTensors result;
  for (const auto& [name, variable] : network.parameters()) result[name] = variable.value();
  for (const auto& [name, tensor] : network.buffers()) result[name] = tensor;
  return result;
}

LoadReport load_weights(const layers::Module& network, const NamedTensors& tensors, const std::string& file,
                        bool strict) {
  LoadReport report;
  const NamedTensors own = weights_of(network);
  for (const auto& [name, tensor] : own) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      report.missing.push_back(name);
      continue;
    }
    if (!(found->second.shape() == tensor.shape())) {
      core::throw_input_error({file}, "tensor '{}': expected shape {}, got {}", name, tensor.shape().str(),
                              found->second.shape().str());
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!own.contains(name) && !passed_over(name)) report.unexpected.push_back(name);
  }
  report.loaded = static_cast<int64_t>(own.size() - report.missing.size());
  if (report.loaded == 0)
    core::throw_input_error({file}, "no tensor has the name of a parameter of this network");
  if (strict && !report.missing.empty()) {
    core::throw_input_error({file}, "{} of the network's {} tensors are missing, the first is '{}'",
                            report.missing.size(), own.size(), report.missing.front());
  }
  // Only now, when nothing can be refused any more, is the network touched.
  for (const auto& [name, tensor] : own) {
    const auto found = tensors.find(name);
    if (found != tensors.end()) tensor.copy_from(found->second);
  }
  return report;
}

}  // namespace medfusion::optim
