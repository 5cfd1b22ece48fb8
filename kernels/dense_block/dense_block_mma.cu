// The block with its buffer, z and gradient in bf16, on tensor cores (compute capability 8.0 and later): what
// is stored is bf16, what is summed f32, parameters and statistics f32. Per layer two products
// (dense_block_mma.cuh): they normalize what they read, and the statistics of what they write are taken where
// it is written, so that nothing passes through memory but the buffer and z.
//
// Backward adds to the gradient in bf16, once per layer that reads a channel: f32 arithmetic, rounded each
// time. After n additions the error is at most n 2^-9 of the largest partial sum (of the order of sqrt(n)
// 2^-9 where roundings are independent), what a tape that adds the gradients of n readers in bf16 has too. A
// gradient in f32 would double the traffic of the kernel that is bound by it. The corrections of batch norm
// are summed in double, and rounded once.
#include "kernels/dense_block/dense_block_mma.cuh"

#include <algorithm>
#include <limits>

#include "core/tensor.h"
#include "kernels/batch_norm/batch_norm_simt.h"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/takes.cuh"

namespace medfusion::kernels::cuda::dense_block {
namespace {

using core::DType;
using core::Tensor;
using core::View;

// narrow1 = conv1 [m, c], and narrow2 [9][k][m] = conv2 [k, m, 3, 3].
__global__ void __launch_bounds__(kThreads)
    dense_block_round_weights(Global<const float> conv1, int64_t count1, Global<const float> conv2,
                              int64_t count2, Global<BFloat16> narrow1, Global<BFloat16> narrow2) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count1) narrow1[i] = to_bf16(conv1[i]);
  const int64_t tap = i / (count2 / 9);
  if (i < count2) narrow2[i] = to_bf16(conv2[(i - tap * (count2 / 9)) * 9 + tap]);
}

// total[i][tap] = the sum over parts, in order, of partial[part][tap][i], i < count.
__global__ void __launch_bounds__(kThreads)
    dense_block_add_parts(Global<const float> partial, int parts, int taps, int64_t count,
                          Global<float> total) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count * taps) return;
  double sum = 0.0;
  for (int part = 0; part < parts; ++part) sum += static_cast<double>(partial[part * count * taps + i]);
  const int64_t tap = i / count;
  total[(i - tap * count) * taps + tap] = static_cast<float>(sum);
}

Images images_of(const View& v) {
  return {static_cast<int>(v.rows()), static_cast<int>(v.size(1)), static_cast<int>(v.size(2))};
}
template <class T>
Matrix<T> matrix_of(const View& v) {
  return {v.as<BFloat16>(), v.row_stride(), static_cast<int>(v.size(3))};
}

// A layer's convolutions, rounded.
struct Weights {
  Tensor conv1, conv2;
  explicit Weights(const DenseBlockLayer& l)
      : conv1(Tensor::empty(l.conv1.shape, DType::bf16, l.conv1.device)),
        conv2(Tensor::empty(l.conv2.shape, DType::bf16, l.conv2.device)) {
    const int64_t count1 = conv1.numel(), count2 = conv2.numel();
    launch(
        {"dense_block_round_weights", l.conv1.device, threads_grid(std::max(count1, count2)), dim3(kThreads)},
        dense_block_round_weights, l.conv1.as<float>(), count1, l.conv2.as<float>(), count2,
        conv1.view().as<BFloat16>(), conv2.view().as<BFloat16>());
  }
};

// ---- the three products, for 3x3 (window) or 1x1

template <int kColumns, bool kWindow>
void start_convolve(const View& x, const Tensor& norm, const Tensor& weight, const View& y, float* partial) {
  const Images images = images_of(x);
  const int64_t depth = ceil_div(x.size(3), kStep) * kStep;
  const int64_t stages = kMmaStages * (kPixels + kColumns) * kStep * 2;
  launch({kWindow ? "dense_block_conv2" : "dense_block_conv1", x.device,
          grid_of(ceil_div(images.pixels, kPixels), ceil_div(y.size(3), kColumns)), dim3(kMmaThreads),
          stages + 2 * depth * 4},
         dense_block_convolve<kColumns, kWindow>, matrix_of<const BFloat16>(x), rows_of_norm(norm),
         weight.view().as<BFloat16>(), matrix_of<BFloat16>(y), images, partial);
}
template <bool kWindow>
void convolve(const View& x, const Tensor& norm, const Tensor& weight, const View& y, float* partial) {
  constexpr int kWidest = kWindow ? 64 : 128;  // growth is small
  const auto start = y.size(3) <= 32   ? start_convolve<32, kWindow>
                     : y.size(3) <= 64 ? start_convolve<64, kWindow>
                                       : start_convolve<kWidest, kWindow>;
  start(x, norm, weight, y, partial);
}

template <int kColumns, bool kWindow>
void start_back_x(const View& grad_y, const Tensor& weight, const View& x, const Tensor& norm,
                  const View& grad_x, bool accumulate, float* partial) {
  const Images images = images_of(x);
  const int64_t shared = (kMmaStages * (kPixels + kColumns) * kStep + 2 * kPixels * kColumns) * 2;
  launch(
      {kWindow ? "dense_block_conv2_back_x" : "dense_block_conv1_back_x", x.device,
       grid_of(ceil_div(images.pixels, kPixels), ceil_div(x.size(3), kColumns)), dim3(kMmaThreads), shared},
      dense_block_convolve_back_x<kColumns, kWindow>, matrix_of<const BFloat16>(grad_y),
      weight.view().as<BFloat16>(), matrix_of<const BFloat16>(x), rows_of_norm(norm),
      matrix_of<BFloat16>(grad_x), accumulate, images, partial);
}
template <bool kWindow>
void back_x(const View& grad_y, const Tensor& weight, const View& x, const Tensor& norm, const View& grad_x,
            bool accumulate, float* partial) {
  const auto start = x.size(3) <= 32 ? start_back_x<32, kWindow> : start_back_x<64, kWindow>;
  start(grad_y, weight, x, norm, grad_x, accumulate, partial);
}

template <int kRows, bool kWindow>
void start_back_weight(const View& grad_y, const View& x, const Tensor& norm, const View& grad_weight) {
  constexpr int64_t kBlocks = 264, kLeast = 256;  // two for every multiprocessor of a large GPU; pixels
  constexpr int64_t kColumns = 128, kTaps = Images::taps(kWindow);
  const Images images = images_of(x);
  const int64_t rows = grad_y.size(3), columns = x.size(3);
  const dim3 tiles = grid_of(ceil_div(columns, kColumns), kTaps * ceil_div(rows, kRows));
  const int64_t most = ceil_div(images.pixels, kLeast);
  const int64_t wanted = std::clamp<int64_t>(kBlocks / (int64_t{tiles.x} * tiles.y), 1, most);
  const int64_t chunk = ceil_div(ceil_div(images.pixels, wanted), kStep) * kStep;
  const int64_t chunks = ceil_div(images.pixels, chunk);
  const Tensor partial = Tensor::empty({chunks, kTaps, rows, columns}, DType::f32, x.device);
  launch({kWindow ? "dense_block_conv2_back_weight" : "dense_block_conv1_back_weight", x.device,
          grid_of(tiles.x, tiles.y, chunks), dim3(kMmaThreads), kMmaStages * (kRows + kColumns) * kStep * 2},
         dense_block_convolve_back_weight<kRows, kWindow>, matrix_of<const BFloat16>(grad_y),
         matrix_of<const BFloat16>(x), rows_of_norm(norm), images, static_cast<int>(chunk),
         partial.view().as<float>());
  launch({"dense_block_add_parts", x.device, threads_grid(kTaps * rows * columns), dim3(kThreads)},
         dense_block_add_parts, partial.view().as<float>(), static_cast<int>(chunks), static_cast<int>(kTaps),
         rows * columns, grad_weight.as<float>());
}
template <bool kWindow>
void back_weight(const View& grad_y, const View& x, const Tensor& norm, const View& grad_weight) {
  const auto start = grad_y.size(3) <= 32 ? start_back_weight<32, kWindow> : start_back_weight<128, kWindow>;
  start(grad_y, x, norm, grad_weight);
}

// ---- forward

// Room for the parts of one product: they are used up before the next makes its own.
Tensor room_for_parts(const View& buffer, const std::vector<DenseBlockLayer>& layers) {
  int64_t channels = buffer.size(3);
  for (const DenseBlockLayer& l : layers) channels = std::max(channels, l.z.size(3));
  return Tensor::empty({ceil_div(buffer.rows(), kPixels), 2, channels}, DType::f32, buffer.device);
}

// What both directions make of the norm before the 3x3 convolution, and of the one before the 1x1.
Tensor norm2_of(const DenseBlockLayer& l, bool training, double eps) {
  return make_norm(l.norm2_weight, l.norm2_bias, training ? l.z_mean : l.norm2_mean,
                   training ? l.z_inv_std : l.norm2_var, training, eps);
}
template <class Args>
Tensor norm1_of(const Args& b, const DenseBlockLayer& l) {
  return make_norm(l.norm1_weight, l.norm1_bias, b.training ? b.mean : l.norm1_mean,
                   b.training ? b.inv_std : l.norm1_var, b.training, b.eps);
}

void run_forward(const DenseBlockForward& b) {
  if (b.buffer.numel() == 0) return;
  const core::Device device = b.buffer.device;
  const int64_t pixels = b.buffer.rows();
  int64_t channels = input_channels(b.buffer, b.layers);
  Tensor variance, parts;
  if (b.training) {
    variance = Tensor::empty({b.buffer.size(3)}, DType::f32, device);  // of the buffer's channels
    parts = room_for_parts(b.buffer, b.layers);
  }
  float* const partial = b.training ? parts.view().as<float>() : nullptr;
  const auto finish = [&](int64_t count, const StatisticsTarget& to) {
    finish_statistics(device, partial, pixels, kPixels, count, to);
  };
  if (b.training) {
    batch_norm::statistics(channels_of(b.buffer, 0, channels),
                           {.mean = channels_of(b.mean, 0, channels),
                            .variance = channels_of(variance.view(), 0, channels),
                            .inv_std = channels_of(b.inv_std, 0, channels),
                            .eps = b.eps});
  }
  for (size_t i = 0; i < b.layers.size(); ++i) {
    const DenseBlockLayer& l = b.layers[i];
    const int64_t growth = l.conv2.size(0);
    const bool last = i + 1 == b.layers.size();  // its channels are not read again
    if (b.training) update_running1(l, b.mean, variance.view(), b.momentum, pixels);
    const Weights weights(l);
    convolve<false>(channels_of(b.buffer, 0, channels), norm1_of(b, l), weights.conv1, l.z, partial);
    if (b.training) {
      finish(l.z.size(3), {l.z_mean.as<float>(), nullptr, l.z_inv_std.as<float>(), l.norm2_mean.as<float>(),
                           l.norm2_var.as<float>(), b.momentum, b.eps});
    }
    convolve<true>(l.z, norm2_of(l, b.training, b.eps), weights.conv2,
                   channels_of(b.buffer, channels, channels + growth), last ? nullptr : partial);
    if (b.training && !last) {
      finish(growth, {b.mean.as<float>() + channels, variance.view().as<float>() + channels,
                      b.inv_std.as<float>() + channels, nullptr, nullptr, b.momentum, b.eps});
    }
    channels += growth;
  }
}

// ---- backward

class BackwardPass {
 public:
  explicit BackwardPass(const DenseBlockBackward& b) : b_(b), parts_(room_for_parts(b.buffer, b.layers)) {
    if (!b.training) return;  // running statistics are constants
    sums_ = Tensor::zeros({2, b.buffer.size(3)}, DType::f64, b.buffer.device);
  }

  void run() {
    int64_t channels = b_.buffer.size(3);
    for (size_t i = b_.layers.size(); i-- > 0;) {
      const DenseBlockLayer& l = b_.layers[i];
      channels -= l.conv2.size(0);
      if (!grad_z_.defined() || grad_z_.shape() != l.z.shape)
        grad_z_ = Tensor::empty(l.z.shape, DType::bf16, b_.buffer.device);
      const Weights weights(l);
      second_half(l, b_.gradients[i], weights.conv2, channels);
      first_half(l, b_.gradients[i], weights.conv1, channels);
    }
    complete(channels_of(b_.gradient, 0, channels), channels_of(b_.buffer, 0, channels), pending(0));
  }

 private:
  float* parts() const { return parts_.view().as<float>(); }
  int64_t tiles() const { return ceil_div(b_.buffer.rows(), kPixels); }
  Pending pending(int64_t channel) const { return pending_of(b_, sums_, channel); }

  // The gradient of x's channels becomes complete.
  void complete(const View& gradient, const View& x, const Pending& pending) const {
    if (b_.training) correct(gradient, x, pending, gradient);
  }

  // From the layer's new channels, at `channel`, to the gradient of z, in grad_z_.
  void second_half(const DenseBlockLayer& l, const DenseBlockLayerGradient& g, const Tensor& weight,
                   int64_t channel) const {
    const int64_t last = channel + l.conv2.size(0);
    const View grad_new = channels_of(b_.gradient, channel, last);
    complete(grad_new, channels_of(b_.buffer, channel, last), pending(channel));
    const Tensor norm = norm2_of(l, b_.training, b_.eps);
    back_weight<true>(grad_new, l.z, norm, g.conv2);
    back_x<true>(grad_new, weight, l.z, norm, grad_z_.view(), false, parts());
    Tensor sums;
    Pending pending{nullptr, nullptr, nullptr, nullptr};
    if (b_.training) {
      const int64_t middle = l.z.size(3);
      sums = Tensor::empty({2, middle}, DType::f64, b_.buffer.device);
      double* const first = sums.view().as<double>();
      pending = {first, first + middle, l.z_mean.as<float>(), l.z_inv_std.as<float>()};
    }
    finish_norm(parts(), tiles(), l.norm2_weight, g.norm2_weight, g.norm2_bias, pending, false,
                b_.buffer.rows());
    complete(grad_z_.view(), l.z, pending);
  }

  // From grad_z_ to the gradient of the prefix [0, channels), which is added to.
  void first_half(const DenseBlockLayer& l, const DenseBlockLayerGradient& g, const Tensor& weight,
                  int64_t channels) const {
    const View prefix = channels_of(b_.buffer, 0, channels);
    const Tensor norm = norm1_of(b_, l);
    back_weight<false>(grad_z_.view(), prefix, norm, g.conv1);
    back_x<false>(grad_z_.view(), weight, prefix, norm, channels_of(b_.gradient, 0, channels), true, parts());
    finish_norm(parts(), tiles(), l.norm1_weight, g.norm1_weight, g.norm1_bias, pending(0), true,
                b_.buffer.rows());
  }

  const DenseBlockBackward& b_;
  Tensor sums_;    // [2, C]: what waits for the buffer's channels
  Tensor parts_;   // of the sums per channel of the product at hand
  Tensor grad_z_;  // of the layer at hand
};

// ---- what the variant takes

bool in_pieces(const View& v) {
  return v.dtype == DType::bf16 && v.rows_uniform() && v.size(3) % 8 == 0 && aligned_rows<16>(v) &&
         v.rows() * std::max(v.row_stride(), v.size(3)) <= std::numeric_limits<int>::max();
}
constexpr TensorRequirement kPieces{"channels in pieces of 16 bytes",
                                    [](Tensors tensors) { return takes::each(tensors, in_pieces); }};
template <class Args>
bool widths_fit(const Args& b) {
  return std::all_of(b.layers.begin(), b.layers.end(), [](const DenseBlockLayer& l) {
    const int64_t c = l.conv1.size(1), m = l.conv1.size(0), k = l.conv2.size(0);
    return in_pieces(l.z) && l.conv1.dtype == DType::f32 && c > 0 && c % 8 == 0 && c <= kMostChannels &&
           m > 0 && m <= kMostChannels && k > 0 && k % 8 == 0;
  });
}
constexpr const char* kWidths = "growth in pieces of 16 bytes, up to 4096 channels";

void run_backward(const DenseBlockBackward& b) {
  if (b.buffer.numel() == 0) return clear_gradients(b.gradients);
  BackwardPass(b).run();
}

const Register<DenseBlockForward> forward(
    "mma", kDevice, 20,
    {takes::bf16, kPieces, {kWidths, widths_fit<DenseBlockForward>}, kComputeCapability80}, run_forward);
const Register<DenseBlockBackward> backward(
    "mma", kDevice, 20,
    {takes::bf16, kPieces, {kWidths, widths_fit<DenseBlockBackward>}, kComputeCapability80}, run_backward);

}  // namespace
}  // namespace medfusion::kernels::cuda::dense_block
