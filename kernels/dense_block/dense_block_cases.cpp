#include "kernels/dense_block/dense_block.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::Shape;
using core::Tensor;
using core::View;

struct Setup {
  Shape x;  // [batch, height, width, channels]
  int64_t growth, bottleneck, layers;
  bool training = true;
  Layout layout = Layout::contiguous;  // of the buffer
};

const char* const kParameters[] = {"norm1.weight", "norm1.bias", "conv1",
                                   "norm2.weight", "norm2.bias", "conv2"};
const char* const kRunning[] = {"norm1.mean", "norm1.var", "norm2.mean", "norm2.var"};

std::string key(int64_t layer, const std::string& name) { return fmt::format("{}.{}", layer, name); }

void add_slots(OpCase& c, const Setup& s) {
  Shape whole = s.x;
  whole[3] += s.growth * s.layers;
  c.inputs = {{.name = "x", .shape = s.x}};
  c.outputs = {{.name = "y", .shape = whole, .layout = s.layout}};
  const auto hidden = [&](const std::string& name, const Shape& shape, bool statistic = true) {
    c.outputs.push_back(
        {.name = name, .shape = shape, .differentiable = false, .statistic = statistic, .of_stored = true});
  };
  for (int64_t i = 0; i < s.layers; ++i) {
    const int64_t width = s.x[3] + i * s.growth;
    const auto input = [&](const char* name, const Shape& shape, Fill fill) {
      c.inputs.push_back(
          {.name = key(i, name), .shape = shape, .fill = fill, .statistic = true, .of_stored = true});
    };
    input("norm1.weight", {width}, Fill::positive);
    input("norm1.bias", {width}, Fill::normal);
    input("conv1", {s.bottleneck, width, 1, 1}, Fill::normal);
    input("norm2.weight", {s.bottleneck}, Fill::positive);
    input("norm2.bias", {s.bottleneck}, Fill::normal);
    input("conv2", {s.growth, s.bottleneck, 3, 3}, Fill::normal);
    for (const char* name : kRunning) {
      const int64_t size = name[4] == '1' ? width : s.bottleneck;
      c.inputs.push_back({.name = key(i, name),
                          .shape = {size},
                          .fill = Fill::positive,
                          .differentiable = false,
                          .statistic = true});
      hidden(key(i, std::string("new_") + name), {size});
    }
    hidden(key(i, "z"), {s.x[0], s.x[1], s.x[2], s.bottleneck}, false);
    if (s.training) {
      hidden(key(i, "z_mean"), {s.bottleneck});
      hidden(key(i, "z_inv_std"), {s.bottleneck});
    }
  }
}

std::vector<DenseBlockLayer> layers_of(CaseTensors& t, const Setup& s) {
  std::vector<DenseBlockLayer> layers;
  for (int64_t i = 0; i < s.layers; ++i) {
    const auto in = [&](const char* name) { return t.in(key(i, name)).view(); };
    const auto out = [&](const char* name) { return t.out(key(i, name)).view(); };
    layers.push_back({.norm1_weight = in("norm1.weight"),
                      .norm1_bias = in("norm1.bias"),
                      .norm1_mean = out("new_norm1.mean"),
                      .norm1_var = out("new_norm1.var"),
                      .conv1 = in("conv1"),
                      .norm2_weight = in("norm2.weight"),
                      .norm2_bias = in("norm2.bias"),
                      .norm2_mean = out("new_norm2.mean"),
                      .norm2_var = out("new_norm2.var"),
                      .conv2 = in("conv2"),
                      .z = out("z"),
                      .z_mean = s.training ? out("z_mean") : View{},
                      .z_inv_std = s.training ? out("z_inv_std") : View{}});
  }
  return layers;
}

// Running statistics are updated in place, and the block's input lies in its buffer.
void prepare_forward(CaseTensors& t, const Setup& s) {
  for (int64_t i = 0; i < s.layers; ++i) {
    for (const char* name : kRunning) t.out(key(i, std::string("new_") + name)).copy_from(t.in(key(i, name)));
  }
  const Tensor& y = t.out("y");
  y.slice(3, 0, s.x[3]).copy_from(t.in("x"));
  // Kept between the directions, but not compared: a variant need not write the last layer's.
  const core::DType statistics = core::statistics_dtype(y.dtype());
  for (const char* name :
       {"saved mean", "saved inv_std"}) {  // at one place for all calls, which may be captured
    if (!t.all().contains(name)) t.set(name, Tensor::empty({y.size(3)}, statistics, y.device()));
  }
}

void forward(CaseTensors& t, const Setup& s, const std::string& variant) {
  dispatch(DenseBlockForward{.buffer = t.out("y").view(),
                             .mean = t.all().at("saved mean").view(),
                             .inv_std = t.all().at("saved inv_std").view(),
                             .layers = layers_of(t, s),
                             .training = s.training},
           t.device(), variant);
}

// A backward works in the gradient of the buffer: a copy, without gaps or, where the buffer is a slice, in
// pieces of more channels.
void prepare_backward(CaseTensors& t, const Setup& s) {
  const Tensor& y = t.grad_out("y");
  if (!t.all().contains("gradient")) {
    Shape whole = y.shape();
    const bool pieces = s.layout == Layout::piece_slice;
    if (pieces) whole[3] += 32;
    const Tensor copy = Tensor::empty(whole, y.dtype(), y.device());
    t.set("gradient", pieces ? copy.slice(3, 8, 8 + y.size(3)) : copy);
  }
  t.all().at("gradient").copy_from(y);
}

void backward(CaseTensors& t, const Setup& s, const std::string& variant) {
  std::vector<DenseBlockLayerGradient> gradients;
  for (int64_t i = 0; i < s.layers; ++i) {
    const auto grad = [&](const char* name) { return t.grad_in(key(i, name)).view(); };
    gradients.push_back({grad("norm1.weight"), grad("norm1.bias"), grad("conv1"), grad("norm2.weight"),
                         grad("norm2.bias"), grad("conv2")});
  }
  dispatch(DenseBlockBackward{.buffer = t.out("y").view(),
                              .mean = t.all().at("saved mean").view(),
                              .inv_std = t.all().at("saved inv_std").view(),
                              .layers = layers_of(t, s),
                              .gradient = t.all().at("gradient").view(),
                              .gradients = gradients,
                              .training = s.training},
           t.device(), variant);
}

OpCase make(const Setup& s) {
  OpCase c;
  c.operation = "dense_block";
  c.name = fmt::format("x={} growth={} bottleneck={} layers={} {}{}", s.x.str(), s.growth, s.bottleneck,
                       s.layers, s.training ? "training" : "evaluation",
                       s.layout == Layout::contiguous   ? ""
                       : s.layout == Layout::misaligned ? " misaligned"
                                                        : " slice");
  add_slots(c, s);
  c.reference_in_bf16 = true;
  c.forward = [s](CaseTensors& t, const std::string& variant) { forward(t, s, variant); };
  c.backward = [s](CaseTensors& t, const std::string& variant) { backward(t, s, variant); };
  c.prepare_forward = [s](CaseTensors& t) { prepare_forward(t, s); };
  c.prepare_backward = [s](CaseTensors& t) { prepare_backward(t, s); };
  c.finish_backward = [s](CaseTensors& t) {
    t.grad_in("x").copy_from(t.all().at("gradient").slice(3, 0, s.x[3]));
  };
  const auto pixels = static_cast<double>(s.x[0] * s.x[1] * s.x[2]);
  for (int64_t i = 0; i < s.layers; ++i) {
    const auto width = static_cast<double>(s.x[3] + i * s.growth);
    const auto middle = static_cast<double>(s.bottleneck);
    const auto growth = static_cast<double>(s.growth);
    c.flops += 2.0 * pixels * middle * (width + 9.0 * growth);
    c.bytes += 4.0 * (pixels * (width + 2.0 * middle + growth) + middle * (width + 9.0 * growth));
  }
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  for (const bool training : {true, false}) {
    list.push_back(make({{2, 4, 3, 5}, 3, 4, 3, training}));
    list.push_back(make({{2, 3, 5, 33}, 31, 18, 2, training, Layout::channel_slice}));
    list.back().gradcheck = false;  // for time: the reference has no code of its own for these sizes
    list.push_back(make({{3, 2, 2, 2}, 1, 3, 2, training}));
    list.push_back(make({{9, 1, 1, 5}, 6, 7, 1, training}));
    list.push_back(make({{2, 3, 3, 8}, 4, 8, 2, training}));
    list.push_back(make({{1, 9, 9, 68}, 4, 72, 2, training}));
    list.back().gradcheck = false;  // for time
    // Whole pieces of 16 bytes in bf16: one tile and several, of pixels, depth and channels.
    list.push_back(make({{2, 3, 4, 8}, 8, 16, 3, training}));
    list.push_back(make({{2, 3, 4, 8}, 8, 16, 1, training, Layout::misaligned}));
    list.push_back(make({{1, 2, 3, 16}, 8, 32, 1, training, Layout::piece_slice}));
    list.push_back(make({{1, 11, 13, 40}, 32, 72, 3, training, Layout::piece_slice}));
    list.back().gradcheck = false;  // for time
  }
  list.push_back(make({{1, 3, 4, 8}, 72, 136, 2}));
  list.back().gradcheck = false;  // for time
  list.push_back(make({{2, 12, 11, 136}, 40, 128, 1}));
  list.back().gradcheck = false;  // for time
  // In training a convolution of one channel before a norm has no gradient but rounding.
  list.push_back(make({{2, 2, 2, 1}, 1, 1, 2, false}));
  list.push_back(make({{2, 9, 15, 6}, 4, 8, 1}));
  list.back().gradcheck = false;  // for time
  list.push_back(make({{1, 30, 30, 20}, 32, 17, 1}));
  list.back().gradcheck = false;  // for time
  // The four blocks of DenseNet-121 at 224x224, batch 16.
  list.push_back(timed(make({{16, 56, 56, 64}, 32, 128, 6})));
  list.push_back(timed(make({{16, 28, 28, 128}, 32, 128, 12})));
  list.push_back(timed(make({{16, 14, 14, 256}, 32, 128, 24})));
  list.push_back(timed(make({{16, 7, 7, 512}, 32, 128, 16})));
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
