#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/optimizer/optimizer.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;

// The tensors of one call.
struct Shapes {
  std::string name;
  std::vector<core::Shape> shapes;
  Layout layout = Layout::contiguous;

  double elements() const {
    return std::accumulate(shapes.begin(), shapes.end(), 0.0, [](double sum, const core::Shape& s) {
      return sum + static_cast<double>(s.numel());
    });
  }
};

// Updates work in place, so a case copies its inputs to its outputs and updates those. None is a function to
// differentiate: gradcheck is off.
OpCase make(const std::string& name, const Shapes& shapes) {
  OpCase c;
  c.operation = "optimizer";
  c.name = name + " " + shapes.name + (shapes.layout == Layout::misaligned ? " misaligned" : "");
  c.gradcheck = false;
  return c;
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What it is called in the names of cases where a step is not finite and nothing may change.
std::string skipped(const std::string& name, bool finite) { return name + (finite ? "" : " skipped"); }

// One slot per tensor: p0, p1, ...
void add(std::vector<Slot>& slots, const std::string& name, const Shapes& shapes, Fill fill = Fill::normal) {
  for (size_t i = 0; i < shapes.shapes.size(); ++i) {
    slots.push_back(
        {.name = name + std::to_string(i), .shape = shapes.shapes[i], .fill = fill, .layout = shapes.layout});
  }
}

// Numbers of the step where the tensors lie. Copied there once, so that a benchmark times the update alone.
class Scalars {
 public:
  explicit Scalars(const std::vector<double>& values)
      : host_(Tensor::from({static_cast<int64_t>(values.size())}, values)),
        copies_(std::make_shared<std::map<core::DeviceType, Tensor>>()) {}
  const core::View& on(core::DeviceType device) const {
    Tensor& copy = (*copies_)[device];
    if (!copy.defined()) copy = host_.to(core::Device{device, 0});
    return copy.view();
  }

 private:
  Tensor host_;
  std::shared_ptr<std::map<core::DeviceType, Tensor>> copies_;
};

const Tensor& copied(CaseTensors& t, const std::string& name) {
  t.out(name).copy_from(t.in(name));
  return t.out(name);
}

OpCase adamw(const Shapes& shapes, int step, double weight_decay, double grad_scale = 0.7) {
  OpCase c = make(skipped(step == 1 ? "adamw first step" : "adamw", std::isfinite(grad_scale)), shapes);
  add(c.inputs, "p", shapes);
  add(c.inputs, "g", shapes);
  add(c.inputs, "m", shapes);
  add(c.inputs, "v", shapes, Fill::positive);
  for (const char* name : {"p", "m", "v"}) add(c.outputs, name, shapes);
  const Scalars numbers({0.05, 1.0 - std::pow(0.9, step), 1.0 - std::pow(0.99, step)}), scale({grad_scale});
  c.forward = [=, count = shapes.shapes.size()](CaseTensors& t, const std::string& variant) {
    AdamWStep a{.beta1 = 0.9,
                .beta2 = 0.99,
                .eps = 1e-8,
                .scalars = numbers.on(t.device()),
                .grad_scale = scale.on(t.device()),
                .entries = {}};
    for (size_t i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      const Tensor p = copied(t, "p" + n), m = copied(t, "m" + n), v = copied(t, "v" + n);
      if (step == 1) {
        m.fill(0.0);
        v.fill(0.0);
      }
      const double decay = i % 2 == 0 ? weight_decay : 0.0;
      a.entries.push_back({decay, p.view(), t.in("g" + n).view(), m.view(), v.view()});
    }
    dispatch(a, t.device(), variant);
  };
  c.bytes = 28.0 * shapes.elements();
  c.flops = 15.0 * shapes.elements();
  return c;
}

OpCase sgd(const Shapes& shapes, double momentum, bool nesterov, double grad_scale = 0.7) {
  const char* const name = momentum == 0.0 ? "sgd" : nesterov ? "sgd nesterov" : "sgd momentum";
  OpCase c = make(skipped(name, std::isfinite(grad_scale)), shapes);
  add(c.inputs, "p", shapes);
  add(c.inputs, "g", shapes);
  add(c.outputs, "p", shapes);
  if (momentum != 0.0) {
    add(c.inputs, "u", shapes);
    add(c.outputs, "u", shapes);
  }
  const Scalars numbers({0.1}), scale({grad_scale});
  c.forward = [=, count = shapes.shapes.size()](CaseTensors& t, const std::string& variant) {
    SgdStep a{.momentum = momentum,
              .nesterov = nesterov,
              .scalars = numbers.on(t.device()),
              .grad_scale = scale.on(t.device()),
              .entries = {}};
    for (size_t i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      a.entries.push_back({i % 2 == 0 ? 0.03 : 0.0, copied(t, "p" + n).view(), t.in("g" + n).view(),
                           momentum != 0.0 ? copied(t, "u" + n).view() : core::View{}});
    }
    dispatch(a, t.device(), variant);
  };
  c.bytes = (momentum != 0.0 ? 20.0 : 12.0) * shapes.elements();
  c.flops = (momentum != 0.0 ? 7.0 : 5.0) * shapes.elements();
  return c;
}

OpCase squared_norm(const Shapes& shapes) {
  OpCase c = make("squared norm", shapes);
  add(c.inputs, "x", shapes);
  c.outputs = {{.name = "sum", .shape = {1}, .dtype = DType::f64}};
  c.forward = [count = shapes.shapes.size()](CaseTensors& t, const std::string& variant) {
    SquaredNorm a{.x = {}, .result = t.out("sum").view()};
    for (size_t i = 0; i < count; ++i) a.x.push_back(t.in("x" + std::to_string(i)).view());
    dispatch(a, t.device(), variant);
  };
  c.tolerance = 1e-8;  // both sum in double: only the order differs
  c.bytes = 4.0 * shapes.elements();
  c.flops = 2.0 * shapes.elements();
  return c;
}

OpCase clip(double largest, double scale, double loss = 0.5) {
  const std::string of_loss = std::isfinite(loss) ? "" : fmt::format(", loss {}", loss);
  OpCase c = make(fmt::format("clip {} of about {}{}", largest, scale, of_loss), {"", {}});
  c.inputs = {{.name = "squared", .shape = {1}, .fill = Fill::positive, .dtype = DType::f64}};
  c.outputs = {{.name = "norm", .shape = {1}, .dtype = DType::f64},
               {.name = "factor", .shape = {1}, .dtype = DType::f64}};
  c.forward = [=, losses = Scalars({loss})](CaseTensors& t, const std::string& variant) {
    const Tensor squared =
        Tensor::from<double>({1}, {t.in("squared").item() * scale}).to(t.in("squared").device());
    dispatch<ClipByNorm>(
        {largest, squared.view(), t.out("norm").view(), t.out("factor").view(), losses.on(t.device())},
        t.device(), variant);
  };
  c.tolerance = 0.0;  // the same operations in double
  return c;
}

OpCase average(const Shapes& shapes, double gate = 1.0) {
  OpCase c = make(skipped("average", std::isfinite(gate)), shapes);
  add(c.inputs, "value", shapes);
  add(c.inputs, "average", shapes);
  add(c.outputs, "average", shapes);
  const Scalars rate({0.3}), gates({gate});
  c.forward = [=, count = shapes.shapes.size()](CaseTensors& t, const std::string& variant) {
    AverageStep a{.rate = rate.on(t.device()), .gate = gates.on(t.device()), .entries = {}};
    for (size_t i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      a.entries.push_back({t.in("value" + n).view(), copied(t, "average" + n).view()});
    }
    dispatch(a, t.device(), variant);
  };
  c.bytes = 12.0 * shapes.elements();
  c.flops = 3.0 * shapes.elements();
  return c;
}

OpCase clear(const Shapes& shapes) {
  OpCase c = make("clear", shapes);
  add(c.outputs, "x", shapes);
  c.forward = [count = shapes.shapes.size()](CaseTensors& t, const std::string& variant) {
    ClearTensors a;
    for (size_t i = 0; i < count; ++i) a.x.push_back(t.out("x" + std::to_string(i)).view());
    dispatch(a, t.device(), variant);
  };
  c.bytes = 4.0 * shapes.elements();
  return c;
}

void add_all(std::vector<OpCase>& list, const Shapes& shapes) {
  list.push_back(adamw(shapes, 1, 0.2));
  list.push_back(adamw(shapes, 7, 0.1));
  list.push_back(sgd(shapes, 0.0, false));
  list.push_back(sgd(shapes, 0.9, false));
  list.push_back(sgd(shapes, 0.9, true));
  list.push_back(squared_norm(shapes));
  list.push_back(average(shapes));
  list.push_back(clear(shapes));
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  // The last is more than one task of the cpu.
  for (const core::Shape& shape : {core::Shape{0}, core::Shape{1}, core::Shape{31}, core::Shape{32},
                                   core::Shape{33}, core::Shape{3, 5, 7}, core::Shape{20011}}) {
    add_all(list, {shape.str(), {shape}});
  }
  add_all(list, {"[67]", {{67}}, Layout::misaligned});
  // A chunk of a block and one element more, empty tensors between others, and more tensors than a launch of
  // the device takes.
  add_all(list, {"list", {{5}, {0}, {4096}, {4097}, {3, 33}, {0}}});
  add_all(list, {"no tensor", {}});
  add_all(list, {"70 tensors", std::vector<core::Shape>(70, {2, 3})});
  for (const double scale : {0.1, 10.0}) list.push_back(clip(1.0, scale));
  list.push_back(clip(0.0, 10.0));
  for (const double bad : {kNaN, kInfinity}) {
    list.push_back(clip(1.0, bad));
    list.push_back(clip(0.0, bad));
    list.push_back(clip(1.0, 10.0, bad));
    const Shapes shapes{fmt::format("by {}", bad), {{5}, {4097}}};
    list.push_back(adamw(shapes, 7, 0.1, bad));
    list.push_back(sgd(shapes, 0.0, false, bad));
    list.push_back(sgd(shapes, 0.9, true, bad));
    list.push_back(average(shapes, bad));
  }
  const Shapes large{"[8388608]", {{1 << 23}}};
  // About the sizes of a DenseNet: many small tensors.
  Shapes many{"364 tensors", {}};
  for (int i = 0; i < 91; ++i) {
    for (const core::Shape& shape : {core::Shape{128}, {128}, {128, 256}, {32, 128, 3, 3}})
      many.shapes.push_back(shape);
  }
  for (const Shapes& shapes : {large, many}) {
    for (OpCase c : {adamw(shapes, 7, 0.1), sgd(shapes, 0.9, false), squared_norm(shapes), average(shapes)}) {
      c.bench = true;
      list.push_back(std::move(c));
    }
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
