// The deterministic fillers of tests/fixtures/README.md.
#pragma once

#include <cmath>
#include <string>

#include "layers/module.h"

namespace medfusion::models {

inline uint64_t fnv1a64(const std::string& name) {
  uint64_t h = 0xcbf29ce484222325U;
  for (const char c : name) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3U;
  return h;
}

inline uint64_t splitmix64(uint64_t x) {
  uint64_t z = x + 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

// The numbers that belong to a name.
class NamedNumbers {
 public:
  explicit NamedNumbers(const std::string& name) : base_(fnv1a64(name)) {}
  double unit(int64_t i) const {
    return static_cast<double>(splitmix64(base_ + static_cast<uint64_t>(i)) >> 40) * 0x1p-24;
  }
  double signed_unit(int64_t i) const { return 2.0 * unit(i) - 1.0; }

 private:
  uint64_t base_;
};

// A parameter's value is r times the first, or the second plus r (or u) times the first.
struct FillerRule {
  double factor, offset = 0.0;
  bool positive = false;  // u in place of r
};

inline FillerRule filler_rule(const std::string& name, const core::Shape& shape) {
  const auto begins = [&](const char* prefix) { return name.rfind(prefix, 0) == 0; };
  if (name.ends_with("running_mean") || name.ends_with("bias")) return {0.1};
  if (name.ends_with("running_var")) return {0.5, 1.0, true};
  if (begins("label_queries") || begins("image_tokens.level_embedding") || begins("table_tokens.") ||
      begins("text_tokens.") || begins("gate.")) {
    return {0.5};
  }
  if (shape.rank() == 1) return {0.2, 1.0};
  return {std::sqrt(3.0 / static_cast<double>(shape.numel() / shape[0]))};
}

// Fills parameters and running statistics by their names; values are rounded to float as the fixtures' were.
inline void fill_module(const layers::Module& module) {
  const auto fill = [](const std::string& name, const core::Tensor& tensor) {
    const NamedNumbers numbers(name);
    const FillerRule rule = filler_rule(name, tensor.shape());
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double draw = rule.positive ? numbers.unit(i) : numbers.signed_unit(i);
      const auto value = static_cast<float>(rule.offset + rule.factor * draw);
      tensor.dtype() == core::DType::f64 ? void(tensor.data<double>()[i] = value)
                                         : void(tensor.data<float>()[i] = value);
    }
  };
  for (const auto& [name, variable] : module.parameters()) fill(name, variable.value());
  for (const auto& [name, tensor] : module.buffers()) fill(name, tensor);
}

inline core::Tensor signed_tensor(const std::string& name, const core::Shape& shape, core::DType dtype) {
  core::Tensor result = core::Tensor::empty(shape, core::DType::f64);
  const NamedNumbers numbers(name);
  for (int64_t i = 0; i < result.numel(); ++i)
    result.data<double>()[i] = static_cast<float>(numbers.signed_unit(i));
  return result.to(dtype);
}

// Six numbers that stand for a whole tensor: norm, dot product with the probe, the first four elements.
inline core::Tensor summary(const std::string& name, const core::Tensor& tensor) {
  core::Tensor result = core::Tensor::zeros({6}, core::DType::f64);
  auto* s = result.data<double>();
  const core::Tensor values = tensor.to(core::Device{}).to(core::DType::f64).to_contiguous();
  const NamedNumbers probe("probe." + name);
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const double value = values.data<double>()[i];
    s[0] += value * value;
    s[1] += value * probe.signed_unit(i);
    if (i < 4) s[2 + i] = value;
  }
  s[0] = std::sqrt(s[0]);
  return result;
}

}  // namespace medfusion::models
