// Modules own parameters and buffers under the names they have in a checkpoint.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layers/context.h"

namespace medfusion::layers {

// How a parameter is filled when a model is made.
struct Init {
  enum class Kind : uint8_t {
    constant,        // `value`
    normal,          // N(0, value^2)
    kaiming_normal,  // N(0, 2 / fan_in), He et al. 2015; fan_in = product of all sizes but the first
    xavier_uniform,  // U(+-sqrt(6 / (fan_in + fan_out))), Glorot and Bengio 2010, of [out, in]
  };
  Kind kind = Kind::constant;
  double value = 0.0;

  static Init constant(double value) { return {Kind::constant, value}; }
  static Init normal(double deviation) { return {Kind::normal, deviation}; }
  static Init kaiming_normal() { return {Kind::kaiming_normal, 0.0}; }
  static Init xavier_uniform() { return {Kind::xavier_uniform, 0.0}; }
};

// What the parameters and buffers of a module are made as: f32 or f64, on a device.
struct TensorOptions {
  core::DType dtype;
  core::Device device;
  TensorOptions(core::DType type = core::DType::f32, core::Device where = {})  // NOLINT(*-explicit-*)
      : dtype(type), device(where) {}
};

// Parameters and buffers of a layer are public members under their names in a checkpoint; all else is
// private.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // children and parameters are registered by address
  Module& operator=(const Module&) = delete;

  // In order of registration, depth first, names joined by dots.
  std::vector<std::pair<std::string, core::Variable>> parameters() const;
  std::vector<std::pair<std::string, core::Tensor>> buffers()
      const;  // running statistics: saved, not trained
  int64_t parameter_count() const;

  // Fills every parameter by its Init. A parameter's numbers depend on (seed, its full name) only. Buffers
  // keep the value they were registered with.
  void initialize(uint64_t seed);

 protected:
  // A leaf of this shape; filled by initialize().
  core::Variable add_parameter(const std::string& name, const core::Shape& shape, Init init,
                               const TensorOptions& options = {});
  core::Tensor add_buffer(const std::string& name, const core::Shape& shape, double value,
                          const TensorOptions& options = {});
  // `child` is a member of this module and lives as long. An empty name adds no level to the names.
  void add_child(const std::string& name, Module& child) { children_.emplace_back(name, &child); }
  // Makes the child first: in an empty member, or at the end of a list.
  template <class M, class... Arguments>
  void add_child(const std::string& name, std::optional<M>& slot, Arguments&&... arguments) {
    add_child(name, slot.emplace(std::forward<Arguments>(arguments)...));
  }
  template <class M, class... Arguments>
  void add_child(const std::string& name, std::deque<M>& list, Arguments&&... arguments) {
    add_child(name, list.emplace_back(std::forward<Arguments>(arguments)...));
  }

 private:
  struct Parameter {
    std::string name;
    core::Variable variable;
    Init init;
  };
  template <class Visit>
  void visit(const std::string& prefix, const Visit& visit_module) const;

  std::vector<Parameter> parameters_;
  std::vector<std::pair<std::string, core::Tensor>> buffers_;
  std::vector<std::pair<std::string, Module*>> children_;
};

}  // namespace medfusion::layers
