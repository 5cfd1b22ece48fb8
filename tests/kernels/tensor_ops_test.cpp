// Copies, fills and the adding up of gradients on the simulated device, against the host's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/autograd.h"
#include "core/random.h"
#include "core/runtime.h"
#include "core/tensor.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};
constexpr DType kTypes[] = {DType::f32, DType::f64, DType::bf16,   DType::i64,
                            DType::i32, DType::u8,  DType::boolean};

// Values that every dtype holds, and that bf16 and bool change: integers in [0, 256), or for floats fractions
// of either sign.
Tensor random_tensor(const Shape& shape, DType dtype, uint64_t stream) {
  const Tensor values = Tensor::empty(shape, DType::f64);
  const core::Philox philox(5, stream);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const auto word = static_cast<double>(philox.word(static_cast<uint64_t>(i)) % 256);
    values.data<double>()[i] = core::is_floating(dtype) ? word - 100.3 : word * (word > 99 ? 1.0 : 0.0);
  }
  return values.to(dtype);
}

testing::AssertionResult same(const Tensor& expected, const Tensor& actual) {
  if (expected.shape() != actual.shape()) return testing::AssertionFailure() << "shape";
  const Tensor host = actual.to(core::Device{});
  for (int64_t i = 0; i < expected.numel(); ++i) {
    const double e = expected.at(i), a = host.at(i);
    if (!(e == a)) return testing::AssertionFailure() << "[" << i << "]: expected " << e << ", got " << a;
  }
  return testing::AssertionSuccess();
}

TEST(DeviceCopy, ConvertsBetweenAllTypesAsTheHostDoes) {
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      for (const int64_t n : {1, 7, 33, 300}) {
        Tensor source = random_tensor({n}, from, 1);
        if (core::is_floating(from) && !core::is_floating(to)) {  // negative numbers: not of every type
          source = random_tensor({n}, DType::u8, 1).to(from);
        }
        const Tensor expected = Tensor::empty({n}, to);
        expected.copy_from(source);
        const Tensor actual = Tensor::empty({n}, to, kSim);
        actual.copy_from(source.to(kSim));
        EXPECT_TRUE(same(expected, actual)) << core::name_of(from) << " to " << core::name_of(to) << " " << n;
      }
    }
  }
}

// One element after another, of a tensor and of a view of it.
struct Layout {
  const char* name;
  Shape shape;
  Tensor (*view)(const Tensor&);
};

const Layout kLayouts[] = {
    {"contiguous", {3, 5, 8}, [](const Tensor& t) { return t; }},
    {"odd", {37}, [](const Tensor& t) { return t; }},
    {"scalar", {1}, [](const Tensor& t) { return t; }},
    {"empty", {0, 4}, [](const Tensor& t) { return t; }},
    {"slice", {2, 3, 24}, [](const Tensor& t) { return t.slice(2, 3, 16); }},
    {"aligned slice", {2, 3, 32}, [](const Tensor& t) { return t.slice(2, 16, 29); }},
    {"misaligned", {68}, [](const Tensor& t) { return t.slice(0, 1, 68); }},
    {"transposed", {6, 35}, [](const Tensor& t) { return t.transpose(0, 1); }},
    {"three transposed", {4, 5, 6}, [](const Tensor& t) { return t.transpose(0, 2); }},
    {"one channel", {4, 5, 3}, [](const Tensor& t) { return t.slice(2, 1, 2); }},
    {"six",
     {2, 3, 2, 3, 2, 5},
     [](const Tensor& t) { return t.transpose(0, 3).transpose(2, 5).slice(1, 0, 2).slice(4, 1, 2); }},
};

TEST(DeviceCopy, ReadsAnyLayout) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i64, DType::u8}) {
    for (const Layout& layout : kLayouts) {
      const Tensor whole = random_tensor(layout.shape, dtype, 2);
      const Tensor expected = layout.view(whole).clone();
      EXPECT_TRUE(same(expected, layout.view(whole.to(kSim)).clone()))
          << core::name_of(dtype) << " " << layout.name;
      EXPECT_TRUE(same(expected.to(DType::f32), layout.view(whole.to(kSim)).to(DType::f32)))
          << core::name_of(dtype) << " as f32, " << layout.name;
    }
  }
}

TEST(DeviceCopy, WritesAnyLayoutAndNothingElse) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i64, DType::u8}) {
    for (const Layout& layout : kLayouts) {
      const Tensor expected = random_tensor(layout.shape, dtype, 3);
      const Tensor actual = expected.to(kSim);
      const Tensor source = random_tensor(layout.view(expected).shape(), dtype, 4);
      layout.view(expected).copy_from(source);
      layout.view(actual).copy_from(source.to(kSim));
      EXPECT_TRUE(same(expected, actual)) << core::name_of(dtype) << " " << layout.name;
    }
  }
}

TEST(DeviceCopy, RepeatsWhatIsBroadcast) {
  const Tensor row = random_tensor({1, 1, 37}, DType::f32, 5);
  const Tensor column = random_tensor({4, 3, 1}, DType::f32, 6);
  for (const Tensor& source : {row, column}) {
    const Tensor expected = source.expand({4, 3, 37}).clone();
    EXPECT_TRUE(same(expected, source.to(kSim).expand({4, 3, 37}).clone()));
  }
}

TEST(DeviceFill, FillsAnyTypeAndLayout) {
  for (const DType dtype : kTypes) {
    for (const Layout& layout : kLayouts) {
      const Tensor expected = random_tensor(layout.shape, dtype, 7);
      const Tensor actual = expected.to(kSim);
      layout.view(expected).fill(3.0);
      layout.view(actual).fill(3.0);
      EXPECT_TRUE(same(expected, actual)) << core::name_of(dtype) << " " << layout.name;
    }
  }
}

// A kernel's fault names it and its line; a copy by other means would not.
TEST(DeviceCopy, RunsAsAKernel) {
  const Tensor small = Tensor::zeros({4, 8}, DType::f32, kSim);
  const Tensor claimed = Tensor::borrow(small.view().data, {4, 9}, DType::f32, kSim);
  const Tensor result = Tensor::zeros({9, 4}, DType::f32, kSim);
  try {
    result.copy_from(claimed.transpose(0, 1));
    core::runtime(kSim).synchronize(core::current_stream(kSim));
    FAIL() << "read past the end";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("copy: block"));
    EXPECT_THAT(error.what(), testing::HasSubstr("out-of-bounds global access"));
  }
}

// x + x by way of the tape: both gradients arrive at the leaf.
void accumulate_twice(const core::Variable& x, const Tensor& first, const Tensor& second) {
  const core::Variable y = core::Variable::result("twice", x.value().clone(), {x, x},
                                                  [=](const Tensor&, const core::InputGradients& inputs) {
                                                    inputs.accumulate(0, first);
                                                    inputs.accumulate(1, second);
                                                  });
  y.backward(Tensor::zeros(x.shape(), x.dtype(), x.value().device()));
}

TEST(DeviceAdd, GradientsAddUpInAnyLayout) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Layout& layout : kLayouts) {
      const Tensor expected = random_tensor(layout.shape, dtype, 8);  // gradients that are there already
      const Tensor actual = expected.to(kSim);
      const Shape shape = layout.view(expected).shape();
      const Tensor first = random_tensor(layout.shape, dtype, 9), second = random_tensor(shape, dtype, 10);
      for (const Tensor& buffer : {expected, actual}) {
        const core::Device device = buffer.device();
        const core::Variable x(Tensor::zeros(shape, dtype, device), true);
        x.set_gradient_buffer(layout.view(buffer));
        accumulate_twice(x, layout.view(first.to(device)), second.to(device));
      }
      EXPECT_TRUE(same(expected, actual)) << core::name_of(dtype) << " " << layout.name;
    }
  }
}

// bf16 in between: a sum of two gradients is rounded once.
TEST(DeviceAdd, GradientsInBf16AddUpRounded) {
  for (const int64_t width : {37, 40}) {
    const Tensor first = random_tensor({3, width}, DType::bf16, 9);
    const Tensor second = random_tensor({3, width}, DType::bf16, 10);
    const core::Variable leaf(Tensor::zeros(first.shape(), DType::f32, kSim), true);
    const core::Variable narrow = core::Variable::result(
        "narrow", leaf.value().to(DType::bf16), {leaf},
        [](const Tensor& g, const core::InputGradients& inputs) { inputs.accumulate(0, g.to(DType::f32)); });
    accumulate_twice(narrow, first.to(kSim), second.to(kSim));
    const Tensor sum = Tensor::empty(first.shape());
    for (int64_t i = 0; i < sum.numel(); ++i)
      sum.data<float>()[i] = static_cast<float>(first.at(i) + second.at(i));
    EXPECT_TRUE(same(sum.to(DType::bf16), leaf.gradient()));
  }
}

TEST(DeviceAdd, RefusesAGradientOfAnotherDevice) {
  const core::Variable x(Tensor::zeros({3}, DType::f32, kSim), true);
  try {
    accumulate_twice(x, Tensor::zeros({3}), Tensor::zeros({3}));
    FAIL() << "added a host tensor to a gradient of the device";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("expected device sim:0, got cpu:0"));
  }
}

}  // namespace
}  // namespace medfusion::kernels
