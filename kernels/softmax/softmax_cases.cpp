#include <limits>

#include "kernels/softmax/softmax.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase make(const std::string& name, const Shape& shape, Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "softmax";
  c.name = name + shape.str();
  c.inputs = {{.name = "x", .shape = shape, .layout = layout}};
  c.outputs = {{.name = "y", .shape = shape, .layout = layout}};
  c.forward = runs<SoftmaxForward>("in:x", "out:y");
  c.backward = runs<SoftmaxBackward>("out:y", "grad_out:y", "grad_in:x");
  c.flops = 5.0 * static_cast<double>(shape.numel());
  c.bytes = 8.0 * static_cast<double>(shape.numel());
  c.backward_bytes = 1.5;  // y, grad_y, grad_x
  return c;
}

// Every other row is masked throughout, the others in part.
OpCase masked(const Shape& shape) {
  OpCase c = make("masked ", shape);
  const auto run = c.forward;
  c.forward = [run](CaseTensors& t, const std::string& variant) {
    const core::Tensor& x = t.in("x");
    const int64_t width = x.size(-1);
    for (int64_t i = 0; i < x.numel(); ++i) {
      if (i / width % 2 == 1 || i % 3 == 1) {
        core::visit_dtype(x.dtype(), [&](auto type) {
          using T = decltype(type);
          if constexpr (std::is_floating_point_v<T>) {
            core::element<T>(x.view(), i) = -std::numeric_limits<T>::infinity();
          }
        });
      }
    }
    run(t, variant);
  };
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const int64_t width : {1, 2, 3, 31, 32, 33}) list.push_back(make("", {5, width}));
  list.push_back(make("no rows ", {0, 5}));
  list.push_back(make("no columns ", {5, 0}));
  list.push_back(make("one dimension ", {7}));
  list.push_back(make("long rows ", {2, 1000}));
  list.push_back(make("many rows ", {7, 500, 2}));
  list.push_back(make("slice ", {2, 3, 13}, Layout::channel_slice));
  list.push_back(make("misaligned ", {3, 37}, Layout::misaligned));
  list.push_back(masked({4, 33}));
  list.push_back(masked({4, 3}));
  OpCase extreme = make("infinite ", {6, 40});
  extreme.inputs[0].fill = Fill::extreme;
  extreme.gradcheck = false;  // no differences across infinities
  list.push_back(std::move(extreme));
  for (const Shape& shape : {Shape{16 * 8 * 256, 256}, Shape{1 << 18, 3}}) {
    list.push_back(timed(make("large ", shape)));
  }
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
