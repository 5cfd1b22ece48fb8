// Shards that meet in a batch norm give what the whole batch gives.
#include <gtest/gtest.h>

#include <cstring>

#include "core/communicator.h"
#include "layers/functional/batch_norm.h"
#include "layers/functional/elementwise.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

// One shard for each thread of run_ranks().
class ThreadExchange : public ShardExchange {
 public:
  ThreadExchange(core::Communicator& ranks, double own_share) : ranks_(ranks), own_share_(own_share) {}
  Tensor sum(const Tensor& part) override {
    const Tensor all = Tensor::empty({ranks_.size(), part.numel()}, part.dtype());
    ranks_.all_gather(part.view().data, all.view().data, part.bytes());
    Tensor total = all.slice(0, 0, 1);
    const core::NoGradGuard no_gradients;
    for (int64_t i = 1; i < ranks_.size(); ++i)
      total = add(Variable(total), Variable(all.slice(0, i, i + 1))).value();
    return total.clone().reshape(part.shape());
  }
  int64_t rows_of_batch(int64_t rows) const override {
    return std::lround(static_cast<double>(rows) / own_share_);
  }
  bool updates_shared() const override { return ranks_.rank() == 0; }

 private:
  core::Communicator& ranks_;
  double own_share_;
};

struct Result {
  Tensor y, grad_x, grad_weight, grad_bias, running_mean, running_var;
};

// Of rows [first, last) of x; whole: without an exchange.
Result run(const Tensor& x, int64_t first, int64_t last, bool relu, ShardExchange* shards) {
  const int64_t channels = x.size(-1);
  const Variable part(x.slice(0, first, last).clone(), true);
  const Variable weight(random_tensor({channels}, 11), true), bias(random_tensor({channels}, 12), true);
  Result result;
  result.running_mean = Tensor::full({channels}, 0.25, DType::f64);
  result.running_var = Tensor::full({channels}, 1.5, DType::f64);
  const Variable y = shards == nullptr ? batch_norm(part, weight, bias, result.running_mean,
                                                    result.running_var, true, 0.1, 1e-5, relu)
                                       : batch_norm_of_shard(part, weight, bias, result.running_mean,
                                                             result.running_var, *shards, 0.1, 1e-5, relu);
  y.backward(random_tensor(x.shape(), 13).slice(0, first, last).clone());
  result.y = y.value();
  result.grad_x = part.gradient();
  result.grad_weight = weight.gradient();
  result.grad_bias = bias.gradient();
  return result;
}

void expect_near(const Tensor& expected, const Tensor& actual, const std::string& what) {
  ASSERT_EQ(expected.numel(), actual.numel()) << what;
  for (int64_t i = 0; i < expected.numel(); ++i) ASSERT_NEAR(expected.at(i), actual.at(i), 1e-12) << what;
}

TEST(BatchNormOfShard, TogetherTheyAreTheWholeBatch) {
  for (const bool relu : {false, true}) {
    const Tensor x = random_tensor({7, 3, 2, 5}, 1);
    const Result whole = run(x, 0, 7, relu, nullptr);
    const std::vector<int64_t> bounds{0, 2, 3, 7};
    std::vector<Result> parts(3);
    core::run_ranks(3, [&](core::Communicator& ranks) {
      const auto i = static_cast<size_t>(ranks.rank());
      ThreadExchange exchange(ranks, static_cast<double>(bounds[i + 1] - bounds[i]) / 7.0);
      parts[i] = run(x, bounds[i], bounds[i + 1], relu, &exchange);
    });
    Tensor grad_weight = Tensor::zeros({5}, DType::f64), grad_bias = grad_weight.clone();
    for (size_t i = 0; i < 3; ++i) {
      expect_near(whole.y.slice(0, bounds[i], bounds[i + 1]).clone(), parts[i].y, "y");
      expect_near(whole.grad_x.slice(0, bounds[i], bounds[i + 1]).clone(), parts[i].grad_x, "grad x");
      for (int64_t c = 0; c < 5; ++c) {
        grad_weight.data<double>()[c] += parts[i].grad_weight.at(c);
        grad_bias.data<double>()[c] += parts[i].grad_bias.at(c);
      }
    }
    expect_near(whole.grad_weight, grad_weight, "grad weight");
    expect_near(whole.grad_bias, grad_bias, "grad bias");
    expect_near(whole.running_mean, parts[0].running_mean, "running mean");
    expect_near(whole.running_var, parts[0].running_var, "running variance");
    EXPECT_EQ(parts[1].running_mean.at(0), 0.25);  // the first shard updates what they share
  }
}

}  // namespace
}  // namespace medfusion::layers
