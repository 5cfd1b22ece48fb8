#include "core/autograd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace medfusion::core {
namespace {

using testing::ElementsAre;

// factor x, as an operation of its own.
Variable times(const char* name, const Variable& x, double factor) {
  const Tensor value = Tensor::full(x.shape(), x.value().item() * factor);
  return Variable::result(name, value, {x}, [=](const Tensor& g, const InputGradients& inputs) {
    inputs.accumulate(0, Tensor::full(g.shape(), g.item() * factor));
  });
}

class Listener final : public OperationObserver {
 public:
  void forward(const char* operation, uint64_t number, const Tensor& value,
               const std::vector<Variable>& inputs) override {
    names[number] = operation;
    events.push_back(fmt::format("{} {} -> {}", operation, inputs.at(0).value().item(), value.item()));
  }
  void backward(const char* operation, uint64_t number,
                std::span<const std::shared_ptr<GradientState>> inputs) override {
    EXPECT_EQ(names.at(number), operation);
    const std::string gradient =
        inputs[0] == nullptr ? "none" : fmt::format("{}", inputs[0]->gradient.item());
    events.push_back(fmt::format("{}: {}", operation, gradient));
  }

  std::map<uint64_t, std::string> names;
  std::vector<std::string> events;
};

TEST(OperationObserver, SeesBothDirectionsWhileItLives) {
  const Variable x(Tensor::full({1}, 2.0), true);
  {
    Listener outer;
    {
      Listener inner;
      const Variable constant = times("constant", Variable(Tensor::full({1}, 1.0)), 4.0);
      const Variable y = times("second", times("first", x, 3.0), 5.0);
      y.backward();
      EXPECT_THAT(inner.events,
                  ElementsAre("constant 1 -> 4", "first 2 -> 6", "second 6 -> 30", "second: 5", "first: 15"));
    }
    EXPECT_TRUE(outer.events.empty());
    times("third", x, 1.0);
    EXPECT_THAT(outer.events, ElementsAre("third 2 -> 2"));
  }
  EXPECT_EQ(times("nobody looks", x, 2.0).value().item(), 4.0);
}

}  // namespace
}  // namespace medfusion::core
