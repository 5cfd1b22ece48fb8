#include "optim/ema.h"

#include <algorithm>

#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"
#include "optim/state.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr const char* kUpdates = "updates";

bool averaged(const Tensor& tensor) {
  return tensor.dtype() == core::DType::f32 || tensor.dtype() == core::DType::f64;
}

}  // namespace

WeightAverage::WeightAverage(const layers::Module& module, double decay) : decay_(decay) {
  MEDFUSION_CHECK(decay >= 0.0 && decay < 1.0, "weight average: expected a decay in [0, 1), got {}", decay);
  for (const auto& [name, variable] : module.parameters()) entries_.push_back({name, variable.value(), {}});
  for (const auto& [name, tensor] : module.buffers()) entries_.push_back({name, tensor, {}});
  for (Entry& entry : entries_) {
    MEDFUSION_CHECK(entry.value.contiguous(), "weight average: {} is not contiguous", entry.name);
    entry.average = entry.value.clone();
  }
  const core::Device device = entries_.empty() ? core::Device{} : entries_.front().value.device();
  rate_ = Tensor::empty({1}, core::DType::f64, device);
}

void WeightAverage::update() {
  rate_.copy_from(Tensor::from<double>({1}, {next_rate()}));
  average(rate_);
}

double WeightAverage::next_rate() {
  MEDFUSION_CHECK(!swapped_, "weight average: update while the average is in the model");
  const auto t = static_cast<double>(updates_++);
  const double decay = std::min(decay_, (1.0 + t) / (10.0 + t));
  return 1.0 - decay;
}

void WeightAverage::average(const Tensor& rate, const Tensor& gate) const {
  for (const core::DType dtype : {core::DType::f32, core::DType::f64}) {
    kernels::AverageStep step{rate.view(), gate.view(), {}};
    for (const Entry& entry : entries_) {
      if (entry.value.dtype() == dtype) step.entries.push_back({entry.value.view(), entry.average.view()});
    }
    if (!step.entries.empty()) kernels::dispatch(step, rate.device().type);
  }
  for (const Entry& entry : entries_) {
    if (!averaged(entry.value)) entry.average.copy_from(entry.value);
  }
}

void WeightAverage::swap() {
  for (const Entry& entry : entries_) {
    const Tensor value = entry.value.clone();
    entry.value.copy_from(entry.average);
    entry.average.copy_from(value);
  }
  swapped_ = !swapped_;
}

std::map<std::string, Tensor> WeightAverage::tensors() const {
  MEDFUSION_CHECK(!swapped_, "weight average: tensors() while the average is in the model");
  std::map<std::string, Tensor> result{{kUpdates, Tensor::from<int64_t>({1}, {updates_})}};
  for (const Entry& entry : entries_) result.emplace(entry.name, entry.average);
  return result;
}

void WeightAverage::load(const std::map<std::string, Tensor>& tensors, const std::string& file) {
  const auto own = this->tensors();
  check_state(own, tensors, "weight average", file);
  const int64_t updates = tensors.at(kUpdates).data<int64_t>()[0];
  if (updates < 0)
    core::throw_input_error({file}, "weight average state: expected updates >= 0, got {}", updates);
  for (const Entry& entry : entries_) entry.average.copy_from(tensors.at(entry.name));
  updates_ = updates;
}

}  // namespace medfusion::optim
