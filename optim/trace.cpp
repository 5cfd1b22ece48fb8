#include "optim/trace.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace medfusion::optim {

using core::DType;
using core::Tensor;
using core::Variable;

// What of a tensor is not finite.
struct NonfiniteTrace::Faults {
  int64_t nan = 0, infinite = 0, below = 0;  // infinite: both signs; below: -inf alone
  std::vector<int64_t> rows;                 // those of the batch it is in, where the tensor has such rows

  bool any() const { return nan + infinite > 0; }
  bool only_hidden() const { return nan == 0 && infinite == below; }
  std::string text() const {
    std::string text = nan > 0 ? fmt::format("{} NaN", nan) : "";
    if (infinite > 0) text += fmt::format("{}{} infinite", text.empty() ? "" : " and ", infinite);
    return text;
  }
};

namespace {

constexpr size_t kMostNames = 10;   // of rows in a line
constexpr size_t kMostKernels = 3;  // of an operation in a line

bool is_real(const Tensor& tensor) { return tensor.defined() && core::is_floating(tensor.dtype()); }

// On the host, in f32 or f64, its elements in a row.
Tensor on_host(const Tensor& tensor) {
  const Tensor host = tensor.to(core::Device{}).to_contiguous();
  return host.dtype() == DType::f64 ? host : host.to(DType::f32);
}

template <class Visit>
void for_each_value(const Tensor& tensor, const Visit& visit) {
  const Tensor host = on_host(tensor);
  for (int64_t i = 0; i < host.numel(); ++i) {
    visit(i,
          host.dtype() == DType::f64 ? host.data<double>()[i] : static_cast<double>(host.data<float>()[i]));
  }
}

// But for what prepares the pass.
std::string kernels_text(std::vector<std::string> kernels) {
  std::erase_if(kernels, [](const std::string& kernel) { return kernel.starts_with("optimizer "); });
  std::string text;
  for (size_t i = 0; i < std::min(kernels.size(), kMostKernels); ++i)
    text += (i > 0 ? ", " : "kernel ") + kernels[i];
  return kernels.empty() ? "no kernel" : text + (kernels.size() > kMostKernels ? ", ..." : "");
}

// "features.norm0" of "features.norm0.weight"; a name without a dot stays.
std::string above(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(0, dot);
}

// The module to which a parameter and those below `module` belong; an empty one has none yet.
std::string common_module(std::string module, const std::string& parameter) {
  if (module.empty()) return above(parameter);
  while (!parameter.starts_with(module + ".") && module.find('.') != std::string::npos)
    module = above(module);
  return module;
}

}  // namespace

NonfiniteTrace::NonfiniteTrace(const models::Network& network, models::Prepared batch,
                               std::function<std::string(int64_t)> row_name)
    : batch_(std::move(batch)), row_name_(std::move(row_name)) {
  for (const auto& [name, parameter] : network.parameters()) {
    values_[parameter.value().view().data] = name;
    if (parameter.gradient().defined()) gradients_[parameter.gradient().view().data] = name;
  }
  look_at(network);
}

void NonfiniteTrace::look_at(const models::Network& network) {
  // Unknown targets are NaN, and the network's own tensors hide what they shall hide by -inf.
  const auto look = [&](const std::string& what, const Tensor& tensor) {
    if (!found() && is_real(tensor)) report(what, tensor, faults_of(tensor), "");
  };
  look("the images of the batch", batch_.images);
  look("the table of the batch", batch_.table.values);
  for (const auto& [name, parameter] : network.parameters())
    look("the parameter " + name + ", before the step", parameter.value());
  for (const auto& [name, buffer] : network.buffers())
    look("the running statistics " + name + ", before the step", buffer);
}

NonfiniteTrace::Faults NonfiniteTrace::faults_of(const Tensor& tensor) const {
  Faults faults;
  const int64_t samples = batch_.targets.defined() ? batch_.targets.size(0) : 0;
  const bool has_rows = samples > 0 && tensor.rank() > 0 && tensor.size(0) == samples;
  const int64_t row_size = has_rows ? tensor.numel() / samples : 0;
  std::set<int64_t> rows;
  for_each_value(tensor, [&](int64_t i, double value) {
    if (std::isfinite(value)) return;
    ++(std::isnan(value) ? faults.nan : faults.infinite);
    if (value < 0.0) ++faults.below;
    if (has_rows) rows.insert(i / row_size);
  });
  faults.rows.assign(rows.begin(), rows.end());
  return faults;
}

std::string NonfiniteTrace::rows_text(const std::vector<int64_t>& rows) const {
  std::string text;
  for (size_t i = 0; i < std::min(rows.size(), kMostNames); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    const bool named = row_name_ && row < batch_.rows.size();
    text += (i > 0 ? ", " : "") + (named ? row_name_(batch_.rows[row]) : fmt::format("{}", row + 1));
  }
  return rows.size() > kMostNames ? fmt::format("{} and {} more", text, rows.size() - kMostNames) : text;
}

void NonfiniteTrace::report(const std::string& what, const Tensor& tensor, const Faults& faults,
                            const std::string& behind) {
  if (!faults.any()) return;
  text_ = fmt::format("{}: {} of {} values of {}", what, faults.text(), tensor.numel(), tensor.shape().str());
  if (!faults.rows.empty()) {
    text_ += fmt::format(", in {} of the {} rows: {}", faults.rows.size(), batch_.targets.size(0),
                         rows_text(faults.rows));
  }
  text_ += behind;
}

// Where the result has no rows of the batch: the row that is likely to have done it.
std::string NonfiniteTrace::largest_input(const std::vector<Variable>& inputs) const {
  double largest = -1.0;
  int64_t row = 0;
  for (const Variable& input : inputs) {
    const Tensor& value = input.value();
    const int64_t samples = batch_.targets.size(0);
    if (!is_real(value) || value.rank() == 0 || value.numel() == 0 || value.size(0) != samples) continue;
    for_each_value(value, [&](int64_t i, double x) {
      if (!(std::abs(x) > largest)) return;
      largest = std::abs(x);
      row = i / (value.numel() / samples);
    });
  }
  return largest < 0.0 ? ""
                       : fmt::format("; its largest input, {:.3g}, is of row {}", largest, rows_text({row}));
}

std::string NonfiniteTrace::where(uint64_t number) const {
  const auto found = modules_.find(number);
  return found == modules_.end() || found->second.empty() ? "" : ", in or after " + found->second;
}

void NonfiniteTrace::forward(const char* operation, uint64_t number, const Tensor& value,
                             const std::vector<Variable>& inputs) {
  const std::vector<std::string> kernels = log_.take();
  std::string module;
  for (const Variable& input : inputs) {
    const auto parameter = values_.find(input.value().view().data);
    if (parameter != values_.end()) module = common_module(module, parameter->second);
  }
  if (!module.empty()) module_ = module;
  modules_[number] = module_;
  if (found() || !is_real(value)) return;
  look_at_result(fmt::format("{} forward ({}{})", operation, kernels_text(kernels), where(number)), value,
                 inputs);
  log_.take();  // of what a simulated device runs late, when its values are asked for
}

void NonfiniteTrace::look_at_result(const std::string& what, const Tensor& value,
                                    const std::vector<Variable>& inputs) {
  const Faults faults = faults_of(value);
  if (!faults.any()) return;
  std::string before;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_real(inputs[i].value())) continue;
    const Faults input = faults_of(inputs[i].value());
    if (!input.any()) continue;
    if (input.below > 0 && faults.only_hidden()) return;
    before += fmt::format("; its input {} had {} already", i + 1, input.text());
  }
  if (before.empty()) before = "; all its inputs were finite";
  report(what, value, faults, before + (faults.rows.empty() ? largest_input(inputs) : ""));
}

void NonfiniteTrace::backward(const char* operation, uint64_t number,
                              std::span<const std::shared_ptr<core::GradientState>> inputs) {
  const std::vector<std::string> kernels = log_.take();
  for (size_t i = 0; i < inputs.size() && !found(); ++i) {
    if (inputs[i] == nullptr || !inputs[i]->gradient.defined()) continue;
    const Tensor& gradient = inputs[i]->gradient;
    const auto parameter = gradients_.find(gradient.view().data);
    const std::string of =
        parameter != gradients_.end() ? "parameter " + parameter->second : fmt::format("its input {}", i + 1);
    report(fmt::format("{} backward ({}{}), the gradient of {}", operation, kernels_text(kernels),
                       where(number), of),
           gradient, faults_of(gradient),
           "; the loss, all values of the forward pass and the gradient it had got were finite");
  }
  log_.take();
}

std::string NonfiniteTrace::text() const {
  return found() ? text_ : "the same step run again is finite: the cause cannot be found in this way";
}

}  // namespace medfusion::optim
