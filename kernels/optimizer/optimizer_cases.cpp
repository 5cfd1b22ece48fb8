#include "kernels/op_case.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// Updates work in place, so a case copies its inputs to its outputs and updates those. None is a function to
// differentiate: gradcheck is off.
OpCase make(const std::string& name, const core::Shape& shape, Layout layout) {
  OpCase c;
  c.operation = "optimizer";
  c.name = name + " " + shape.str() + (layout == Layout::misaligned ? " misaligned" : "");
  c.gradcheck = false;
  return c;
}

Slot slot(const std::string& name, const core::Shape& shape, Layout layout, Fill fill = Fill::normal) {
  return {.name = name, .shape = shape, .fill = fill, .layout = layout};
}

OpCase adamw(const core::Shape& shape, Layout layout, int64_t step, double weight_decay) {
  OpCase c = make(step == 1 ? "adamw first step" : "adamw", shape, layout);
  c.inputs = {slot("p", shape, layout), slot("g", shape, layout), slot("m", shape, layout),
              slot("v", shape, layout, Fill::positive)};
  c.outputs = {slot("p", shape, layout), slot("m", shape, layout), slot("v", shape, layout)};
  c.forward = [=](CaseTensors& t, const std::string& variant) {
    t.out("p").copy_from(t.in("p"));
    t.out("m").copy_from(t.in("m"));
    t.out("v").copy_from(t.in("v"));
    if (step == 1) {
      t.out("m").fill(0.0);
      t.out("v").fill(0.0);
    }
    dispatch<AdamWStep>({.learning_rate = 0.05,
                         .beta1 = 0.9,
                         .beta2 = 0.99,
                         .eps = 1e-8,
                         .weight_decay = weight_decay,
                         .grad_scale = 0.7,
                         .step = step,
                         .parameter = t.out("p").view(),
                         .gradient = t.in("g").view(),
                         .first_moment = t.out("m").view(),
                         .second_moment = t.out("v").view()},
                        t.device(), variant);
  };
  c.bytes = 28.0 * static_cast<double>(shape.numel());
  c.flops = 15.0 * static_cast<double>(shape.numel());
  return c;
}

OpCase sgd(const core::Shape& shape, Layout layout, double momentum, bool nesterov) {
  OpCase c = make(momentum == 0.0 ? "sgd" : nesterov ? "sgd nesterov" : "sgd momentum", shape, layout);
  c.inputs = {slot("p", shape, layout), slot("g", shape, layout)};
  c.outputs = {slot("p", shape, layout)};
  if (momentum != 0.0) {
    c.inputs.push_back(slot("u", shape, layout));
    c.outputs.push_back(slot("u", shape, layout));
  }
  c.forward = [=](CaseTensors& t, const std::string& variant) {
    t.out("p").copy_from(t.in("p"));
    if (momentum != 0.0) t.out("u").copy_from(t.in("u"));
    dispatch<SgdStep>({.learning_rate = 0.1,
                       .momentum = momentum,
                       .weight_decay = 0.03,
                       .grad_scale = 0.7,
                       .nesterov = nesterov,
                       .parameter = t.out("p").view(),
                       .gradient = t.in("g").view(),
                       .velocity = momentum != 0.0 ? t.out("u").view() : core::View{}},
                      t.device(), variant);
  };
  c.bytes = (momentum != 0.0 ? 20.0 : 12.0) * static_cast<double>(shape.numel());
  c.flops = (momentum != 0.0 ? 7.0 : 5.0) * static_cast<double>(shape.numel());
  return c;
}

OpCase squared_norm(const core::Shape& shape, Layout layout) {
  OpCase c = make("squared norm", shape, layout);
  c.inputs = {slot("x", shape, layout)};
  c.outputs = {{.name = "sum", .shape = {1}, .dtype = core::DType::f64}};
  c.forward = [](CaseTensors& t, const std::string& variant) {
    dispatch<SquaredNorm>({t.in("x").view(), t.out("sum").view()}, t.device(), variant);
  };
  c.tolerance = 1e-8;  // both sum in double: only the order differs
  c.bytes = 4.0 * static_cast<double>(shape.numel());
  c.flops = 2.0 * static_cast<double>(shape.numel());
  return c;
}

OpCase average(const core::Shape& shape, Layout layout) {
  OpCase c = make("average", shape, layout);
  c.inputs = {slot("value", shape, layout), slot("average", shape, layout)};
  c.outputs = {slot("average", shape, layout)};
  c.forward = [](CaseTensors& t, const std::string& variant) {
    t.out("average").copy_from(t.in("average"));
    dispatch<AverageStep>({0.7, t.in("value").view(), t.out("average").view()}, t.device(), variant);
  };
  c.bytes = 12.0 * static_cast<double>(shape.numel());
  c.flops = 3.0 * static_cast<double>(shape.numel());
  return c;
}

void add_all(std::vector<OpCase>& list, const core::Shape& shape, Layout layout) {
  list.push_back(adamw(shape, layout, 1, 0.2));
  list.push_back(adamw(shape, layout, 7, 0.0));
  list.push_back(sgd(shape, layout, 0.0, false));
  list.push_back(sgd(shape, layout, 0.9, false));
  list.push_back(sgd(shape, layout, 0.9, true));
  list.push_back(squared_norm(shape, layout));
  list.push_back(average(shape, layout));
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  // The last is more than one task.
  for (const core::Shape& shape : {core::Shape{0}, core::Shape{1}, core::Shape{31}, core::Shape{32},
                                   core::Shape{33}, core::Shape{3, 5, 7}, core::Shape{20011}}) {
    add_all(list, shape, Layout::contiguous);
  }
  add_all(list, {67}, Layout::misaligned);
  for (OpCase c :
       {adamw({1 << 23}, Layout::contiguous, 7, 0.1), sgd({1 << 23}, Layout::contiguous, 0.9, false),
        squared_norm({1 << 23}, Layout::contiguous), average({1 << 23}, Layout::contiguous)}) {
    c.bench = true;
    list.push_back(std::move(c));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
