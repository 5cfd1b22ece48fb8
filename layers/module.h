// Modules own parameters and buffers under the names they have in a checkpoint.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/autograd.h"

namespace medfusion::layers {

struct Trace;

// What a forward pass needs to know beyond its inputs. One per pass: random layers take their streams from it
// in the order in which they run, so a pass is repeatable from (seed, first stream + base).
struct Context {
  bool training = false;
  uint64_t seed = 0;
  uint64_t stream = 0;  // the next random layer's Philox stream
  // i64 [1] on the network's device, or undefined: added to the streams when the work runs.
  core::Tensor base = {};
  Trace* trace = nullptr;  // layers/trace.h; null: nobody looks inside

  uint64_t next_stream() { return stream++; }
};

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

// Parameters and buffers registered on this thread while one of these lives lie on `device`; on the cpu
// otherwise.
class DeviceScope {
 public:
  explicit DeviceScope(core::Device device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  core::Device before_;
};

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
  void initialize(uint64_t seed) const;

 protected:
  // A leaf of this shape (f32 or f64); filled by initialize().
  core::Variable add_parameter(const std::string& name, const core::Shape& shape, Init init,
                               core::DType dtype = core::DType::f32);
  core::Tensor add_buffer(const std::string& name, const core::Shape& shape, double value,
                          core::DType dtype = core::DType::f32);
  // `child` is a member of this module and lives as long. An empty name adds no level to the names.
  void add_child(const std::string& name, const Module& child);

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
  std::vector<std::pair<std::string, const Module*>> children_;
};

}  // namespace medfusion::layers
