#include "kernels/dense_block/dense_block.h"

#include <cmath>

#include "core/tensor.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(dense_block)

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};

// One layer c -> m -> k on the sim device in bf16; every tensor by name.
struct NarrowLayer {
  int64_t c, m, k;
  Tensor buffer, mean, inv_std, z, z_mean, z_inv_std, conv1, conv2;
  std::vector<Tensor> norm1, norm2;  // weight, bias, running mean, running variance

  NarrowLayer(const core::Shape& x, int64_t middle, int64_t growth) : c(x[3]), m(middle), k(growth) {
    const auto full = [](const core::Shape& shape, double value, DType dtype = DType::f32) {
      return Tensor::full(shape, value, dtype, kSim);
    };
    buffer = full({x[0], x[1], x[2], c + k}, 0.0, DType::bf16);
    z = full({x[0], x[1], x[2], m}, 0.0, DType::bf16);
    mean = full({c + k}, std::nan(""));
    inv_std = full({c + k}, std::nan(""));
    z_mean = full({m}, std::nan(""));
    z_inv_std = full({m}, std::nan(""));
    conv1 = full({m, c, 1, 1}, 1.0);
    conv2 = full({k, m, 3, 3}, 0.01);
    norm1 = {full({c}, 1.0), full({c}, 0.0), full({c}, 0.0), full({c}, 1.0)};
    norm2 = {full({m}, 1.0), full({m}, 0.0), full({m}, 0.0), full({m}, 1.0)};
  }
  DenseBlockForward forward() const {
    DenseBlockForward b{
        .buffer = buffer.view(), .mean = mean.view(), .inv_std = inv_std.view(), .layers = {}};
    b.layers = {{.norm1_weight = norm1[0].view(),
                 .norm1_bias = norm1[1].view(),
                 .norm1_mean = norm1[2].view(),
                 .norm1_var = norm1[3].view(),
                 .conv1 = conv1.view(),
                 .norm2_weight = norm2[0].view(),
                 .norm2_bias = norm2[1].view(),
                 .norm2_mean = norm2[2].view(),
                 .norm2_var = norm2[3].view(),
                 .conv2 = conv2.view(),
                 .z = z.view(),
                 .z_mean = z_mean.view(),
                 .z_inv_std = z_inv_std.view()}};
    return b;
  }
};

// Values of z near 520 that differ by a few roundings of bf16 (4 there): E[z^2] - E[z]^2 in f32 would keep
// two digits of the variance, and moments of sums before they are rounded would be others.
TEST(DenseBlockMma, StatisticsAreThoseOfTheStoredValuesAboutTheirMean) {
  const NarrowLayer layer({3, 9, 11, 64}, 16, 8);
  const Tensor x = Tensor::empty({3, 9, 11, 64}, DType::bf16);
  fill_slot({.name = "x", .shape = x.shape()}, x, 20, 1);
  layer.buffer.slice(3, 0, 64).copy_from(x.to(kSim));
  layer.norm1[1].fill(8.0);
  dispatch(layer.forward(), kSim.type, "mma");
  const Tensor z = layer.z.to({}), mean = layer.z_mean.to({}), inv_std = layer.z_inv_std.to({});
  const auto pixels = static_cast<double>(z.numel() / 16);
  for (int64_t c = 0; c < 16; ++c) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = c; i < z.numel(); i += 16) sum += z.at(i);
    for (int64_t i = c; i < z.numel(); i += 16) squares += std::pow(z.at(i) - sum / pixels, 2);
    EXPECT_GT(sum / pixels, 450.0);
    EXPECT_NEAR(mean.at(c), sum / pixels, 1e-7 * sum / pixels);
    const double expected = 1.0 / std::sqrt(squares / pixels + 1e-5);
    EXPECT_NEAR(inv_std.at(c), expected, 2e-6 * expected);
  }
}

TEST(DenseBlockMma, TheSameBitsInEveryOrderOfThreadsAndBlocks) {
  const uint64_t before = simulator::sim_seed();
  int64_t runs = 0;
  for (const OpCase& op_case : cases_of("dense_block")) {
    // Not all, for time; the rest has several tiles of pixels and of channels.
    if (op_case.bench || op_case.flops > 3e7 || op_case.name.find("training") == std::string::npos) continue;
    uint64_t first = 0;
    for (const uint64_t seed : {1, 2}) {
      simulator::set_sim_seed(seed);
      uint64_t digest = 0;
      bool supported = false;
      check_parity(op_case, "mma", {.device = kSim, .precision = DType::bf16, .digest = &digest}, &supported);
      if (!supported) break;
      if (seed == 1) first = digest;
      EXPECT_EQ(digest, first) << op_case.name << " with seed " << seed;
      ++runs;
    }
  }
  simulator::set_sim_seed(before);
  EXPECT_EQ(runs, 8);
}

// Channels in pieces of 16 bytes and nothing else; the rest has no kernel in bf16, and dispatch says so.
TEST(DenseBlockMma, TakesWholePiecesAndLeavesTheRestToOneError) {
  EXPECT_TRUE(is_supported(NarrowLayer({1, 2, 2, 16}, 8, 8).forward(), kSim.type));
  EXPECT_FALSE(is_supported(NarrowLayer({1, 2, 2, 12}, 8, 8).forward(), kSim.type));
  EXPECT_FALSE(is_supported(NarrowLayer({1, 2, 2, 16}, 12, 8).forward(), kSim.type));
  EXPECT_FALSE(is_supported(NarrowLayer({1, 2, 2, 16}, 8, 4).forward(), kSim.type));
  EXPECT_THROW(dispatch(NarrowLayer({1, 2, 2, 12}, 8, 8).forward(), kSim.type), NoVariant);
}

TEST(DenseBlock, ABatchWithoutImagesHasGradientsOfZeroOnTheDevice) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto zeros = [&](const core::Shape& shape, DType type = DType::f32) {
      return Tensor::zeros(shape, type, kSim);
    };
    const auto poison = [&](const core::Shape& shape) {
      return Tensor::full(shape, std::nan(""), DType::f32, kSim);
    };
    const Tensor buffer = zeros({0, 2, 2, 24}, dtype), gradient = zeros({0, 2, 2, 24}, dtype),
                 z = zeros({0, 2, 2, 8}, dtype);
    const Tensor c = zeros({16}), m = zeros({8}), conv1 = zeros({8, 16, 1, 1}), conv2 = zeros({8, 8, 3, 3});
    const DenseBlockLayer layer{.norm1_weight = c.view(),
                                .norm1_bias = c.view(),
                                .norm1_mean = c.view(),
                                .norm1_var = c.view(),
                                .conv1 = conv1.view(),
                                .norm2_weight = m.view(),
                                .norm2_bias = m.view(),
                                .norm2_mean = m.view(),
                                .norm2_var = m.view(),
                                .conv2 = conv2.view(),
                                .z = z.view(),
                                .z_mean = {},
                                .z_inv_std = {}};
    dispatch(
        DenseBlockForward{
            .buffer = buffer.view(), .mean = {}, .inv_std = {}, .layers = {layer}, .training = false},
        kSim.type);
    const std::vector<Tensor> grads{poison({16}), poison({16}), poison({8, 16, 1, 1}),
                                    poison({8}),  poison({8}),  poison({8, 8, 3, 3})};
    dispatch(DenseBlockBackward{.buffer = buffer.view(),
                                .mean = {},
                                .inv_std = {},
                                .layers = {layer},
                                .gradient = gradient.view(),
                                .gradients = {{grads[0].view(), grads[1].view(), grads[2].view(),
                                               grads[3].view(), grads[4].view(), grads[5].view()}},
                                .training = false},
             kSim.type);
    for (const Tensor& g : grads) {
      const Tensor host = Tensor::empty(g.shape());
      host.copy_from(g);
      for (int64_t i = 0; i < host.numel(); ++i) EXPECT_EQ(host.data<float>()[i], 0.0F);
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
