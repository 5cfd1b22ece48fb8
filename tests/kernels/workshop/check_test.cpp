// The checks of kernels/workshop/check.h find what they are there for: each fault is committed once.
#include "kernels/workshop/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// What a faulty kernel does differently; called with the tensor that was just computed in full.
using Fault = std::function<void(const Tensor&)>;
const Fault kNone = [](const Tensor&) {};

void scale_by(const Tensor& from, double factor, const Tensor& to) {
  for (int64_t i = 0; i < from.numel(); ++i) {
    core::visit_dtype(to.dtype(), [&](auto type) {
      using T = decltype(type);
      if constexpr (std::is_floating_point_v<T>) {
        core::element<T>(to.view(), i) = static_cast<T>(factor * from.at(i));
      } else if constexpr (std::is_same_v<T, core::BFloat16>) {
        core::element<T>(to.view(), i) = T(static_cast<float>(factor * from.at(i)));
      }
    });
  }
}

// y = 3 x. The faults are those of the variant "faulty"; `gradient` is what its and the reference's backward
// use.
OpCase triple(const Fault& forward_fault, const Fault& backward_fault, double gradient = 3.0) {
  OpCase c;
  c.operation = "triple";
  c.name = "of eleven";
  c.inputs = {{.name = "x", .shape = {11}, .fill = Fill::normal}};
  c.outputs = {{.name = "y", .shape = {11}}};
  c.forward = [=](CaseTensors& t, const std::string& variant) {
    scale_by(t.in("x"), 3.0, t.out("y"));
    if (variant == "faulty") forward_fault(t.out("y"));
  };
  c.backward = [=](CaseTensors& t, const std::string& variant) {
    scale_by(t.grad_out("y"), gradient, t.grad_in("x"));
    if (variant == "faulty") backward_fault(t.grad_in("x"));
  };
  return c;
}

TEST(Check, ARightOperationPasses) {
  EXPECT_THAT(check_gradients(triple(kNone, kNone)), IsEmpty());
  EXPECT_THAT(check_parity(triple(kNone, kNone), "faulty"), IsEmpty());
}

TEST(Check, AWrongDerivativeFailsTheGradientCheck) {
  EXPECT_THAT(check_gradients(triple(kNone, kNone, 3.00001)), ElementsAre(HasSubstr("gradient of x[")));
}

TEST(Check, ADifferentValueFailsParity) {
  const auto off = [](const Tensor& t) { t.data<float>()[7] += 1e-3F; };
  EXPECT_THAT(check_parity(triple(off, kNone), "faulty"), ElementsAre(HasSubstr("y[7]: expected")));
  EXPECT_THAT(check_parity(triple(kNone, off), "faulty"),
              ElementsAre(HasSubstr("gradient of x[7]: expected")));
}

struct HalfForward {
  static constexpr const char* kOperation = "half";
  static constexpr const char* kDirection = "forward";
};
struct HalfBackward {
  static constexpr const char* kOperation = "half";
  static constexpr const char* kDirection = "backward";
};
const Register<HalfForward> one_way("one way", kCpu, 1, {}, [](const HalfForward&) {});
const Register<HalfForward> there("both ways", kCpu, 1, {}, [](const HalfForward&) {});
const Register<HalfBackward> and_back("both ways", kCpu, 1, {}, [](const HalfBackward&) {});

TEST(Check, AVariantWithoutABackwardIsFollowedByTheOneThatDispatchTakes) {
  std::vector<std::string> called;
  OpCase c = triple(kNone, kNone);
  c.operation = "half";
  const auto backward = c.backward;
  c.backward = [&](CaseTensors& t, const std::string& variant) {
    called.push_back(variant);
    backward(t, variant);
  };
  EXPECT_THAT(check_parity(c, "one way"), IsEmpty());
  EXPECT_THAT(check_parity(c, "both ways"), IsEmpty());
  EXPECT_THAT(called, ElementsAre("reference", "", "reference", "both ways"));
}

TEST(Check, AnElementLeftUnwrittenFailsParity) {
  const auto unwritten = [](const Tensor& t) {
    t.data<float>()[10] = std::numeric_limits<float>::quiet_NaN();
  };
  EXPECT_THAT(check_parity(triple(unwritten, kNone), "faulty"), ElementsAre(HasSubstr("y[10]: expected")));
}

TEST(Check, AWritePastEitherEndIsFound) {
  for (const int64_t place : {int64_t{-1}, int64_t{11}}) {
    const auto outside = [place](const Tensor& t) { t.data<float>()[place] = 0.0F; };
    EXPECT_THAT(check_parity(triple(outside, kNone), "faulty"),
                ElementsAre(HasSubstr("wrote outside out:y")));
    EXPECT_THAT(check_parity(triple(kNone, outside), "faulty"),
                ElementsAre(HasSubstr("wrote outside grad_in:x")));
  }
}

TEST(Check, AWriteBetweenTheRowsOfASliceIsFound) {
  OpCase c = triple([](const Tensor& t) { t.data<float>()[3] = 0.0F; }, kNone);
  c.inputs[0].shape = {4, 3};
  c.outputs[0].shape = {4, 3};
  c.outputs[0].layout = Layout::channel_slice;
  EXPECT_THAT(check_parity(c, "faulty"), ElementsAre(HasSubstr("wrote outside out:y")));
}

TEST(Check, ARunInBFloat16IsHeldToItsRounding) {
  const CheckOptions bf16{.precision = core::DType::bf16};
  EXPECT_THAT(check_parity(triple(kNone, kNone), "faulty", bf16), IsEmpty());
  const auto off = [](const Tensor& t) {
    EXPECT_EQ(t.dtype(), core::DType::bf16);
    auto& value = t.data<core::BFloat16>()[7];
    value = core::BFloat16(static_cast<float>(value) + 0.25F);
  };
  EXPECT_THAT(check_parity(triple(off, kNone), "faulty", bf16), ElementsAre(HasSubstr("y[7]: expected")));
  EXPECT_THAT(check_parity(triple(kNone, off), "faulty", bf16),
              ElementsAre(HasSubstr("gradient of x[7]: expected")));
}

TEST(Check, BothRunsReadTheRoundedInput) {
  std::vector<double> seen;
  OpCase c = triple(kNone, kNone);
  c.backward = nullptr;
  c.forward = [&](CaseTensors& t, const std::string&) {
    scale_by(t.in("x"), 3.0, t.out("y"));
    seen.push_back(t.in("x").at(3));
  };
  EXPECT_THAT(check_parity(c, "faulty", {.precision = core::DType::bf16}), IsEmpty());
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0], seen[1]);
  seen.clear();
  EXPECT_THAT(check_parity(c, "faulty"), IsEmpty());
  EXPECT_NE(static_cast<float>(core::BFloat16(static_cast<float>(seen[0]))), seen[0]);
}

TEST(Check, AStatisticStaysF32AndIsHeldToIt) {
  const CheckOptions bf16{.precision = core::DType::bf16};
  const auto with_fault = [](double factor) {
    OpCase c = triple([=](const Tensor& t) { scale_by(t, factor, t); }, kNone);
    c.backward = nullptr;
    c.outputs[0].statistic = true;
    return c;
  };
  EXPECT_THAT(check_parity(with_fault(1.0), "faulty", bf16), IsEmpty());
  EXPECT_THAT(check_parity(with_fault(1.001), "faulty", bf16), ElementsAre(HasSubstr("y[0]: expected")));
}

TEST(Check, AnErrorIsAFailure) {
  const auto thrown = [](const Tensor&) { throw core::Error("no such variant"); };
  EXPECT_THAT(check_parity(triple(thrown, kNone), "faulty"), ElementsAre(HasSubstr("no such variant")));
}

}  // namespace
}  // namespace medfusion::kernels
