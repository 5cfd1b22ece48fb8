// Reference values of PyTorch, read by name: see tests/fixtures/README.md.
//   Fixture fixture("ops_concat");
//   for (const auto& name : fixture.cases("concat")) {
//     FixtureCase c(fixture, "concat", name);
//     c.expect_parity({"x0", "x1"}, [](const auto& in) { return concat({in[0], in[1]}, -1); });
//   }
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "tests/layers/gradient_check.h"

namespace medfusion::layers {

// Fails where an element differs by more than `tolerance` times the largest magnitude expected, a NaN where
// none is expected, or another shape.
inline void expect_close(const core::Tensor& actual, const core::Tensor& expected, double tolerance,
                         const std::string& what) {
  ASSERT_TRUE(actual.defined()) << what;
  ASSERT_EQ(actual.shape().str(), expected.shape().str()) << what;
  double scale = 0.0;
  for (int64_t i = 0; i < expected.numel(); ++i) {
    if (std::isfinite(expected.at(i))) scale = std::max(scale, std::abs(expected.at(i)));
  }
  for (int64_t i = 0; i < expected.numel(); ++i) {
    const double e = expected.at(i);
    const double a = actual.at(i);
    const bool same = (std::isnan(e) && std::isnan(a)) || e == a || std::abs(e - a) <= tolerance * scale;
    ASSERT_TRUE(same) << what << "[" << i << "]: expected " << e << ", got " << a << ", tolerance "
                      << tolerance * scale;
  }
}

// One file of tests/fixtures. A name that it lacks is an error.
class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : path_(std::string(MEDFUSION_SOURCE_DIR) + "/tests/fixtures/" + name + ".safetensors"),
        tensors_(core::load_safetensors(path_)) {}

  const std::map<std::string, core::Tensor>& tensors() const { return tensors_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  const core::Tensor& get(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw core::Error(path_ + ": no tensor " + name);
    return found->second;
  }

  // The cases of an operation, sorted; an operation without any is an error.
  std::vector<std::string> cases(const std::string& operation) const {
    std::set<std::string> names;
    const std::string prefix = operation + ".";
    for (const auto& [name, tensor] : tensors_) {
      if (name.starts_with(prefix))
        names.insert(name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size()));
    }
    if (names.empty()) throw core::Error(path_ + ": no cases of " + operation);
    return {names.begin(), names.end()};
  }

 private:
  std::string path_;
  std::map<std::string, core::Tensor> tensors_;
};

// The tensors `<operation>.<case>.*`. A tensor of the case that nothing has read is a failure when this goes.
class FixtureCase {
 public:
  FixtureCase(const Fixture& fixture, const std::string& operation, const std::string& name)
      : fixture_(fixture), prefix_(operation + "." + name + ".") {}
  ~FixtureCase() {
    for (const auto& [name, tensor] : fixture_.tensors()) {
      if (name.starts_with(prefix_) && !used_.contains(name)) ADD_FAILURE() << name << " was not compared";
    }
  }
  FixtureCase(const FixtureCase&) = delete;
  FixtureCase& operator=(const FixtureCase&) = delete;

  bool has(const std::string& name) const { return fixture_.has(prefix_ + name); }
  const core::Tensor& get(const std::string& name) {
    used_.insert(prefix_ + name);
    return fixture_.get(prefix_ + name);
  }
  core::Tensor get(const std::string& name, core::DType dtype) { return get(name).to(dtype); }
  core::Tensor get_or_undefined(const std::string& name) { return has(name) ? get(name) : core::Tensor(); }
  int64_t integer(const std::string& name) { return static_cast<int64_t>(get(name).item()); }
  double scalar(const std::string& name) { return get(name).item(); }

  // Runs `function` on the named inputs in f64 and f32 and compares its value with `output` and, after a
  // backward from grad_<output>, the gradient of every input with grad_<input>. The f64 run may differ by the
  // rounding of the stored values only; f32 by `tolerance` (relative to the largest value).
  void expect_parity(const std::vector<std::string>& inputs, const Differentiable& function,
                     const std::string& output = "y", double tolerance = 2e-5) {
    for (const core::DType dtype : {core::DType::f64, core::DType::f32}) {
      const double allowed = dtype == core::DType::f64 ? 1e-6 : tolerance;
      const std::string precision = std::string(" in ") + core::name_of(dtype);
      std::vector<core::Variable> leaves;
      for (const std::string& name : inputs) leaves.emplace_back(get(name).to(dtype).clone(), true);
      const core::Variable y = function(leaves);
      expect_close(y.value(), get(output), allowed, prefix_ + output + precision);
      y.backward(get("grad_" + output, dtype));
      for (size_t i = 0; i < inputs.size(); ++i) {
        const std::string name = "grad_" + inputs[i];
        expect_close(leaves[i].gradient(), get(name), allowed, prefix_ + name + precision);
      }
    }
  }

 private:
  const Fixture& fixture_;
  std::string prefix_;
  std::set<std::string> used_;
};

}  // namespace medfusion::layers
