#include "kernels/attention/attention.h"

#include <cmath>

#include "core/random.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(attention)

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};

Tensor random_tensor(const core::Shape& shape, DType dtype, uint64_t stream) {
  const Tensor host = Tensor::empty(shape, dtype);
  fill_slot({.name = "x", .shape = shape}, host, 20, stream);
  return host.to(kSim);
}

DType type_of(const std::string& variant) {
  return variant == "simt" || variant == "tf32x3" ? DType::f32 : DType::bf16;
}

struct Inputs {
  int64_t heads;
  double scale;
  Tensor q, k, v, grad_y;
  Tensor key_mask = {};
};
Inputs random_inputs(int64_t samples, int64_t heads, int64_t width, int64_t queries, int64_t keys,
                     DType dtype, double scale) {
  const core::Shape q_shape{samples, queries, heads * width}, k_shape{samples, keys, heads * width};
  return {heads,
          scale,
          random_tensor(q_shape, dtype, 1),
          random_tensor(k_shape, dtype, 2),
          random_tensor(k_shape, dtype, 3),
          random_tensor(q_shape, dtype, 4)};
}

// What forward and backward of one variant write: log-sum-exp, y and the gradients of those of q, k and v
// that are wanted.
std::vector<std::vector<double>> results_of(const std::string& variant, const Inputs& in,
                                            const std::string& wanted = "qkv") {
  const auto empty = [](const Tensor& like) { return Tensor::empty(like.shape(), like.dtype(), kSim); };
  const auto gradient = [&](char of, const Tensor& like) {
    return wanted.find(of) == std::string::npos ? Tensor() : empty(like);
  };
  const auto view = [](const Tensor& x) { return x.defined() ? x.view() : core::View(); };
  const Tensor y = empty(in.q), grad_q = gradient('q', in.q), grad_k = gradient('k', in.k),
               grad_v = gradient('v', in.v);
  const Tensor l = Tensor::empty({in.q.size(0), in.heads, in.q.size(1)}, DType::f32, kSim);
  dispatch<AttentionForward>({.heads = in.heads,
                              .scale = in.scale,
                              .q = in.q.view(),
                              .k = in.k.view(),
                              .v = in.v.view(),
                              .key_mask = view(in.key_mask),
                              .pair_mask = {},
                              .y = y.view(),
                              .log_sum_exp = l.view(),
                              .probabilities = {}},
                             kSim.type, variant);
  dispatch<AttentionBackward>({.heads = in.heads,
                               .scale = in.scale,
                               .q = in.q.view(),
                               .k = in.k.view(),
                               .v = in.v.view(),
                               .key_mask = view(in.key_mask),
                               .pair_mask = {},
                               .y = y.view(),
                               .log_sum_exp = l.view(),
                               .grad_y = in.grad_y.view(),
                               .grad_q = view(grad_q),
                               .grad_k = view(grad_k),
                               .grad_v = view(grad_v)},
                              kSim.type, variant);
  std::vector<std::vector<double>> results;
  for (const Tensor& tensor : {l, y, grad_q, grad_k, grad_v}) {
    if (!tensor.defined()) continue;
    const Tensor host = tensor.to(core::Device{});
    auto& values = results.emplace_back();
    for (int64_t i = 0; i < host.numel(); ++i) values.push_back(host.at(i));
  }
  return results;
}

TEST(Attention, TheSameBitsInEveryOrderOfThreadsAndBlocks) {
  const uint64_t before = simulator::sim_seed();
  for (const std::string& variant : variants_of("attention", kSim.type)) {
    const DType dtype = type_of(variant);
    for (const auto& [queries, keys] :
         {std::pair<int64_t, int64_t>{14, 150}, {30, 20}, {50, 49}, {70, 100}}) {
      if (variant == "few" && queries > 16) continue;
      const Inputs in = random_inputs(1, 3, variant == "wgmma" ? 64 : 16, queries, keys, dtype, 0.25);
      simulator::set_sim_seed(1);
      const auto first = results_of(variant, in);
      simulator::set_sim_seed(2);
      EXPECT_EQ(first, results_of(variant, in))
          << variant << ", " << queries << " queries, " << keys << " keys";
    }
  }
  simulator::set_sim_seed(before);
}

// Whole tiles of keys without one to be seen, first, between and last, and a sample without any.
TEST(Attention, WgmmaAgreesWithMmaWhereWholeTilesOfKeysAreMasked) {
  const int64_t samples = 5, keys = 400;
  const Tensor mask = Tensor::empty({samples, keys}, DType::boolean);
  for (int64_t j = 0; j < keys; ++j) {
    const int64_t tile = j / 128;
    const bool seen[] = {tile != 0, tile == 1, tile == 3, tile == 0 || j == 399, false};
    for (int64_t b = 0; b < samples; ++b) mask.data<bool>()[b * keys + j] = seen[b];
  }
  Inputs in = random_inputs(samples, 1, 64, 6, keys, DType::bf16, 0.125);
  in.key_mask = mask.to(kSim);
  const auto mma = results_of("mma", in), wgmma = results_of("wgmma", in);
  for (size_t n = 0; n < mma.size(); ++n) {
    const double bound = n == 0 ? 1e-4 : 0.02;  // log-sum-exp is f32
    for (size_t i = 0; i < mma[n].size(); ++i) {
      ASSERT_TRUE(mma[n][i] == wgmma[n][i] || std::abs(mma[n][i] - wgmma[n][i]) < bound)
          << n << " " << i << " " << mma[n][i] << " " << wgmma[n][i];
    }
  }
}

TEST(Attention, GradientsThatAreNotWantedChangeNoOther) {
  for (const std::string& variant : variants_of("attention", kSim.type)) {
    const DType dtype = type_of(variant);
    const Inputs in = random_inputs(1, 1, 64, 14, 40, dtype, 0.125);
    const auto all = results_of(variant, in);
    for (size_t n = 0; n < 3; ++n) {
      const auto one = results_of(variant, in, std::string(1, "qkv"[n]));
      ASSERT_EQ(one.size(), 3U);
      EXPECT_EQ(one[2], all[2 + n]) << variant << " " << n;
    }
  }
}

template <class Args>
void expect_taken_where_named(const Args& arguments) {
  Args narrow = arguments;
  narrow.heads = 2;
  for (const auto& variant : variants<Args>()) {
    if (variant.device != kSim.type || variant.name != "wgmma") continue;
    EXPECT_TRUE(variant.supports(arguments));
    EXPECT_FALSE(variant.suits(arguments));
    EXPECT_FALSE(variant.supports(narrow));
    return;
  }
  FAIL() << "no wgmma on sim";
}

// On sim the variant for long sequences is there for who names it.
TEST(Attention, WgmmaRunsOnSimWhereItIsNamed) {
  const Tensor q = random_tensor({1, 512, 64}, DType::bf16, 1);
  const AttentionForward arguments{.heads = 1,
                                   .scale = 0.125,
                                   .q = q.view(),
                                   .k = q.view(),
                                   .v = q.view(),
                                   .key_mask = {},
                                   .pair_mask = {},
                                   .y = q.view(),
                                   .log_sum_exp = {},
                                   .probabilities = {}};
  const AttentionBackward gradients{.heads = 1,
                                    .scale = 0.125,
                                    .q = q.view(),
                                    .k = q.view(),
                                    .v = q.view(),
                                    .key_mask = {},
                                    .pair_mask = {},
                                    .y = q.view(),
                                    .log_sum_exp = {},
                                    .grad_y = q.view(),
                                    .grad_q = {},
                                    .grad_k = q.view(),
                                    .grad_v = {}};
  expect_taken_where_named(arguments);
  expect_taken_where_named(gradients);
}

// Shared memory of cards other than the one that the simulator is: 99 KiB on 8.6, 8.9 and 12.0.
class SmallSharedMemory : public testing::Test {
 protected:
  static void make_small() { simulator::set_sim_shared_limit(99 * 1024); }
  void TearDown() override { simulator::set_sim_shared_limit(simulator::kSimShared); }
};

TEST_F(SmallSharedMemory, IsTooLittleForTheShortBackwardOfManyWideTokens) {
  const Inputs in = random_inputs(1, 1, 64, 16, 256, DType::bf16, 0.125);
  EXPECT_NO_THROW(results_of("short", in));
  const std::vector<std::vector<double>> tiled = results_of("mma", in);
  make_small();
  EXPECT_THROW(results_of("short", in), NoVariant);
  EXPECT_EQ(results_of("mma", in), tiled) << "the next variant fits";
  const Inputs fewer = random_inputs(1, 1, 64, 16, 128, DType::bf16, 0.125);
  EXPECT_NO_THROW(results_of("short", fewer));
}

TEST_F(SmallSharedMemory, TheLastVariantTakesSmallerTiles) {
  const Inputs in = random_inputs(1, 2, 128, 70, 45, DType::f32, 0.1);
  const std::vector<std::vector<double>> large = results_of("simt", in);
  make_small();
  EXPECT_EQ(results_of("simt", in), large) << "each row is summed in the same order";
}

}  // namespace
}  // namespace medfusion::kernels
