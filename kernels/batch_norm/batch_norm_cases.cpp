#include "kernels/batch_norm/batch_norm.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;

OpCase make(const std::string& name, const Shape& shape, bool training, bool relu,
            Layout layout = Layout::contiguous) {
  OpCase c;
  c.operation = "batch_norm";
  c.name = fmt::format("{}{} {}{}", training ? "training" : "eval", relu ? " relu" : "", name, shape.str());
  const Shape channels{shape.at(-1)};
  c.inputs = {{.name = "x", .shape = shape, .layout = layout},
              {.name = "weight", .shape = channels, .fill = Fill::off_zero},
              {.name = "bias", .shape = channels},
              {.name = "running_mean", .shape = channels, .differentiable = false},
              {.name = "running_var", .shape = channels, .fill = Fill::positive, .differentiable = false}};
  c.outputs = {{.name = "y", .shape = shape, .layout = layout},
               {.name = "mean", .shape = channels, .differentiable = false},
               {.name = "inv_std", .shape = channels, .differentiable = false},
               {.name = "new_running_mean", .shape = channels, .differentiable = false},
               {.name = "new_running_var", .shape = channels, .differentiable = false}};
  for (size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i].statistic = true;
  for (size_t i = 1; i < c.outputs.size(); ++i) c.outputs[i].statistic = true;
  const auto run =
      runs<BatchNormForward>("in:x", "in:weight", "in:bias", "out:new_running_mean", "out:new_running_var",
                             "out:y", "out:mean", "out:inv_std", training, relu);
  c.forward = [=](CaseTensors& t, const std::string& variant) {
    t.out("new_running_mean").copy_from(t.in("running_mean"));  // updated in place
    t.out("new_running_var").copy_from(t.in("running_var"));
    run(t, variant);
  };
  c.backward =
      runs<BatchNormBackward>("in:x", "in:weight", "in:bias", "out:mean", "out:inv_std", "grad_out:y",
                              "grad_in:x", "grad_in:weight", "grad_in:bias", training, relu);
  c.flops = (training ? 7.0 : 2.0) * static_cast<double>(shape.numel());
  c.bytes = (training ? 12.0 : 8.0) * static_cast<double>(shape.numel());  // training reads x twice
  c.backward_bytes = training ? 5.0 / 3.0 : 1.5;  // x and grad_y (in training twice), grad_x
  return c;
}

OpCase statistics(const Shape& shape, Layout layout) {
  OpCase c;
  c.operation = "batch_norm";
  c.name = "statistics " + shape.str();
  const Shape channels{shape.at(-1)};
  c.inputs = {{.name = "x", .shape = shape, .differentiable = false, .layout = layout}};
  c.outputs = {{.name = "mean", .shape = channels, .differentiable = false, .statistic = true},
               {.name = "variance", .shape = channels, .differentiable = false, .statistic = true}};
  c.forward = runs<BatchNormStatistics>("in:x", "out:mean", "out:variance");
  c.flops = 5.0 * static_cast<double>(shape.numel());
  c.bytes = 4.0 * static_cast<double>(shape.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const bool training : {true, false}) {
    for (const bool relu : {false, true}) {
      const auto add = [&](const std::string& name, const Shape& shape, Layout layout) {
        OpCase c = make(name, shape, training, relu, layout);
        // Two rows normalize to +-1 whatever they are: no gradient is left to compare with.
        if (training && shape.numel() <= 2 * shape.at(-1)) c.gradcheck = false;
        list.push_back(std::move(c));
      };
      for (const int64_t channels : {1, 3, 31, 32, 33}) add("", {2, 3, 2, channels}, Layout::contiguous);
      add("rows ", {33, 5}, Layout::contiguous);
      add("many rows ", {1300, 7}, Layout::contiguous);
      add("one row ", {1, 4}, Layout::contiguous);
      add("no channels ", {3, 0}, Layout::contiguous);
      add("slice ", {2, 3, 3, 13}, Layout::channel_slice);
      add("misaligned ", {3, 5, 17}, Layout::misaligned);
      list.push_back(timed(make("large ", {16, 112, 112, 64}, training, relu)));
    }
  }
  list.push_back(statistics({2, 5, 7, 33}, Layout::channel_slice));
  list.push_back(statistics({600, 16}, Layout::contiguous));
  list.push_back(statistics({64, 24}, Layout::contiguous));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
