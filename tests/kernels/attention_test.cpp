#include "kernels/attention/attention.h"

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
  const int64_t heads = 3;
  const core::Shape q_shape{1, queries, 48}, k_shape{1, keys, 48};
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

}  // namespace
}  // namespace medfusion::kernels
