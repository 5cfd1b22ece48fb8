#include "kernels/attention/attention.h"

#include <cmath>

#include "core/random.h"
#include "core/sim_memory.h"
#include "kernels/registry.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(attention)

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;

constexpr core::Device kSim{core::DeviceType::sim, 0};

Tensor random_tensor(const core::Shape& shape, DType dtype, uint64_t stream) {
  const Tensor host = Tensor::empty(shape, dtype);
  fill_slot({.name = "x", .shape = shape}, host, 20, stream);
  return host.to(kSim);
}

// Everything that forward and backward of one variant write, in the order of threads and blocks of `seed`.
std::vector<std::vector<double>> results_of(const std::string& variant, DType dtype, int64_t queries,
                                            int64_t keys, uint64_t seed) {
  const uint64_t before = core::sim_seed();
  core::set_sim_seed(seed);
  const int64_t heads = 3, channels = variant == "wgmma" ? 192 : 48;
  const core::Shape q_shape{1, queries, channels}, k_shape{1, keys, channels};
  const Tensor q = random_tensor(q_shape, dtype, 1), k = random_tensor(k_shape, dtype, 2),
               v = random_tensor(k_shape, dtype, 3), grad_y = random_tensor(q_shape, dtype, 4);
  const Tensor y = Tensor::empty(q_shape, dtype, kSim), grad_q = Tensor::empty(q_shape, dtype, kSim),
               grad_k = Tensor::empty(k_shape, dtype, kSim), grad_v = Tensor::empty(k_shape, dtype, kSim);
  const Tensor l = Tensor::empty({1, heads, queries}, DType::f32, kSim);
  dispatch<AttentionForward>({.heads = heads,
                              .scale = 0.25,
                              .q = q.view(),
                              .k = k.view(),
                              .v = v.view(),
                              .key_mask = {},
                              .pair_mask = {},
                              .y = y.view(),
                              .log_sum_exp = l.view(),
                              .probabilities = {}},
                             kSim.type, variant);
  dispatch<AttentionBackward>({.heads = heads,
                               .scale = 0.25,
                               .q = q.view(),
                               .k = k.view(),
                               .v = v.view(),
                               .key_mask = {},
                               .pair_mask = {},
                               .y = y.view(),
                               .log_sum_exp = l.view(),
                               .grad_y = grad_y.view(),
                               .grad_q = grad_q.view(),
                               .grad_k = grad_k.view(),
                               .grad_v = grad_v.view()},
                              kSim.type, variant);
  std::vector<std::vector<double>> results;
  for (const Tensor& tensor : {y, l, grad_q, grad_k, grad_v}) {
    const Tensor host = tensor.to(core::Device{});
    auto& values = results.emplace_back();
    for (int64_t i = 0; i < host.numel(); ++i) values.push_back(host.at(i));
  }
  core::set_sim_seed(before);
  return results;
}

TEST(Attention, TheSameBitsInEveryOrderOfThreadsAndBlocks) {
  for (const std::string& variant : variants_of("attention", kSim.type)) {
    const DType dtype = variant == "simt" ? DType::f32 : DType::bf16;
    for (const auto& [queries, keys] :
         {std::pair<int64_t, int64_t>{14, 150}, {30, 20}, {50, 49}, {70, 100}}) {
      if (variant == "few" && queries > 16) continue;
      EXPECT_EQ(results_of(variant, dtype, queries, keys, 1), results_of(variant, dtype, queries, keys, 2))
          << variant << ", " << queries << " queries, " << keys << " keys";
    }
  }
}

// What one variant writes where keys are masked.
std::vector<Tensor> masked_results_of(const std::string& variant, const Tensor& q, const Tensor& k,
                                      const Tensor& v, const Tensor& grad_y, const Tensor& key_mask) {
  const auto empty = [](const Tensor& like) { return Tensor::empty(like.shape(), DType::bf16, kSim); };
  const Tensor y = empty(q), grad_q = empty(q), grad_k = empty(k), grad_v = empty(v);
  const Tensor l = Tensor::empty({q.size(0), 1, q.size(1)}, DType::f32, kSim);
  dispatch<AttentionForward>({.heads = 1,
                              .scale = 0.125,
                              .q = q.view(),
                              .k = k.view(),
                              .v = v.view(),
                              .key_mask = key_mask.view(),
                              .pair_mask = {},
                              .y = y.view(),
                              .log_sum_exp = l.view(),
                              .probabilities = {}},
                             kSim.type, variant);
  dispatch<AttentionBackward>({.heads = 1,
                               .scale = 0.125,
                               .q = q.view(),
                               .k = k.view(),
                               .v = v.view(),
                               .key_mask = key_mask.view(),
                               .pair_mask = {},
                               .y = y.view(),
                               .log_sum_exp = l.view(),
                               .grad_y = grad_y.view(),
                               .grad_q = grad_q.view(),
                               .grad_k = grad_k.view(),
                               .grad_v = grad_v.view()},
                              kSim.type, variant);
  std::vector<Tensor> results;
  for (const Tensor& tensor : {l, y, grad_q, grad_k, grad_v}) results.push_back(tensor.to(core::Device{}));
  return results;
}

// Whole tiles of keys without one to be seen, first, between and last, and a sample without any.
TEST(Attention, WgmmaAgreesWithMmaWhereWholeTilesOfKeysAreMasked) {
  const int64_t samples = 5, keys = 400;
  const Tensor q = random_tensor({samples, 6, 64}, DType::bf16, 1),
               k = random_tensor({samples, keys, 64}, DType::bf16, 2),
               v = random_tensor({samples, keys, 64}, DType::bf16, 3),
               grad_y = random_tensor({samples, 6, 64}, DType::bf16, 4);
  const Tensor mask = Tensor::empty({samples, keys}, DType::boolean);
  for (int64_t j = 0; j < keys; ++j) {
    const int64_t tile = j / 128;
    const bool seen[] = {tile != 0, tile == 1, tile == 3, tile == 0 || j == 399, false};
    for (int64_t b = 0; b < samples; ++b) mask.data<bool>()[b * keys + j] = seen[b];
  }
  const Tensor key_mask = mask.to(kSim);
  const auto mma = masked_results_of("mma", q, k, v, grad_y, key_mask),
             wgmma = masked_results_of("wgmma", q, k, v, grad_y, key_mask);
  for (size_t n = 0; n < mma.size(); ++n) {
    const double bound = n == 0 ? 1e-4 : 0.02;  // log-sum-exp is f32
    for (int64_t i = 0; i < mma[n].numel(); ++i) {
      const double expected = mma[n].at(i), actual = wgmma[n].at(i);
      ASSERT_TRUE(expected == actual || std::abs(expected - actual) < bound)
          << n << " " << i << " " << expected << " " << actual;
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

}  // namespace
}  // namespace medfusion::kernels
