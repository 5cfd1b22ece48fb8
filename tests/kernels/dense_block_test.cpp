#include "kernels/dense_block/dense_block.h"

#include <cmath>

#include "core/tensor.h"
#include "kernels/registry.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(dense_block)

namespace medfusion::kernels {
namespace {

using core::Tensor;

TEST(DenseBlock, ABatchWithoutImagesHasGradientsOfZeroOnTheDevice) {
  const core::Device sim{core::DeviceType::sim, 0};
  const auto zeros = [&](const core::Shape& shape) { return Tensor::zeros(shape, core::DType::f32, sim); };
  const auto poison = [&](const core::Shape& shape) {
    return Tensor::full(shape, std::nan(""), core::DType::f32, sim);
  };
  const Tensor buffer = zeros({0, 2, 2, 7}), gradient = zeros({0, 2, 2, 7}), z = zeros({0, 2, 2, 3});
  const Tensor c = zeros({4}), m = zeros({3}), conv1 = zeros({3, 4, 1, 1}), conv2 = zeros({3, 3, 3, 3});
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
      sim.type);
  const std::vector<Tensor> grads{poison({4}), poison({4}), poison({3, 4, 1, 1}),
                                  poison({3}), poison({3}), poison({3, 3, 3, 3})};
  dispatch(DenseBlockBackward{.buffer = buffer.view(),
                              .mean = {},
                              .inv_std = {},
                              .layers = {layer},
                              .gradient = gradient.view(),
                              .gradients = {{grads[0].view(), grads[1].view(), grads[2].view(),
                                             grads[3].view(), grads[4].view(), grads[5].view()}},
                              .training = false},
           sim.type);
  for (const Tensor& g : grads) {
    const Tensor host = Tensor::empty(g.shape());
    host.copy_from(g);
    for (int64_t i = 0; i < host.numel(); ++i) EXPECT_EQ(host.data<float>()[i], 0.0F);
  }
}

}  // namespace
}  // namespace medfusion::kernels
