// Optimizers: they update the values of parameters in place from their gradient buffers, all in a few
// launches.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/autograd.h"

namespace medfusion::optim {

// As layers::Module::parameters() gives them: distinct names, leaves with a gradient, contiguous, all of one
// dtype (f32 or f64) on one device.
using Parameters = std::vector<std::pair<std::string, core::Variable>>;

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One update of every parameter from grad_scale times its gradient; none where grad_scale is not finite.
  void step(double learning_rate, double grad_scale = 1.0);
  // The same in two halves, for a step that is captured: next_scalars() counts the step and gives what
  // changes with it; update() reads that from the device and only queues work there. scalars: f64
  // [scalar_count()], grad_scale: f64 [1], both contiguous beside the parameters. update() changes nothing
  // where grad_scale is not finite; the caller then says so by uncount().
  std::vector<double> next_scalars(double learning_rate);
  int64_t scalar_count() const {
    return static_cast<int64_t>(scalars_of(0.0, 1).size() * group_rates_.size());
  }
  void update(const core::Tensor& scalars, const core::Tensor& grad_scale) const;
  void uncount() { --steps_; }
  // Sets every gradient buffer to 0.
  void zero_grad() const;
  int64_t steps_taken() const { return steps_; }
  // Makes a group of the parameters that have these names: their learning rate is that of a step times
  // set_group_rate(), which is 1 at first. Returns its number. Call it before scalar_count() is first
  // called; the
  // state has no groups.
  size_t add_group(const std::set<std::string>& names);
  void set_group_rate(size_t group, double rate) { group_rates_.at(group) = rate; }
  // The names of the tensors kept for each parameter.
  const std::vector<std::string>& parts() const { return parts_; }

  // What resuming needs, sharing memory with the optimizer: "<parameter>.<part>" for each part, e.g.
  // "stem.weight.m", and "step" (i64 [1]).
  std::map<std::string, core::Tensor> state_tensors() const;
  // Copies in what state_tensors() gave. Throws core::InputError naming `file` and changes nothing where a
  // tensor is missing, has another shape or dtype, or belongs to no parameter.
  void load_state(const std::map<std::string, core::Tensor>& state, const std::string& file = {});

 protected:
  // `parts` names the tensors kept for each parameter: its shape and dtype, zeroed.
  Optimizer(Parameters parameters, std::vector<std::string> parts);

  // A parameter as a kernel sees it; `state` in the order of `parts`.
  struct Entry {
    bool decayed;  // whether the parameter has more than one dimension
    core::View value, gradient;
    std::vector<core::View> state;
  };
  // scalars: what scalars_of() gave, f64 on the device.
  virtual void update(const std::vector<Entry>& entries, const core::View& scalars,
                      const core::View& grad_scale) const = 0;
  // What changes from step to step, counted from 1.
  virtual std::vector<double> scalars_of(double learning_rate, int64_t step) const = 0;

 private:
  Parameters parameters_;
  std::vector<std::string> parts_;
  std::vector<std::vector<core::Tensor>> state_;  // [parameter][part]
  std::vector<size_t> group_of_;                  // of each parameter
  std::vector<double> group_rates_{1.0};          // group 0 has what no other has
  core::Device device_;
  core::Tensor scalars_, grad_scale_;  // of step(), on the device
  int64_t steps_ = 0;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool decay_matrices_only = true;  // parameters of one dimension (biases, norms) are not decayed
};

// Adam with decoupled weight decay, as torch.optim.AdamW. State: "m", "v". Formulas:
// kernels/optimizer/optimizer.h.
class AdamW : public Optimizer {
 public:
  explicit AdamW(Parameters parameters, const AdamWOptions& options = {});

 private:
  void update(const std::vector<Entry>& entries, const core::View& scalars,
              const core::View& grad_scale) const override;
  std::vector<double> scalars_of(double learning_rate, int64_t step) const override;
  AdamWOptions options_;
};

struct SgdOptions {
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0.0;        // added to the gradient
  bool decay_matrices_only = true;  // as above
};

// Gradient descent with momentum, as torch.optim.SGD. State: "velocity" where momentum is not 0.
class SGD : public Optimizer {
 public:
  explicit SGD(Parameters parameters, const SgdOptions& options = {});

 private:
  void update(const std::vector<Entry>& entries, const core::View& scalars,
              const core::View& grad_scale) const override;
  std::vector<double> scalars_of(double learning_rate, int64_t step) const override;
  SgdOptions options_;
};

// The L2 norm of all gradients together. NaN or infinite where one of them is.
double gradient_norm(const Parameters& parameters);

// The same without leaving the device: norm and grad_scale, f64 [1] beside the parameters, get the norm and
// min(1, largest / norm), or 1 where largest is 0, or NaN where the norm or `loss` (f64 [1], or undefined) is
// not finite. Only queues work.
void clip_gradients(const Parameters& parameters, double largest, const core::Tensor& norm,
                    const core::Tensor& grad_scale, const core::Tensor& loss = {});

// The grad_scale that limits the norm to `largest` > 0: min(1, largest / (norm + 1e-6)), as
// torch.nn.utils.clip_grad_norm_. NaN for a NaN norm.
double clip_factor(double norm, double largest);

}  // namespace medfusion::optim
