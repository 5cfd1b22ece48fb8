// Column matrices of a few output rows at a time, multiplied by Eigen: the fallback and the second opinion.
#include <Eigen/Core>
#include <vector>

#include "core/threads.h"
#include "kernels/convolution/convolution.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::View;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int64_t kTilePixels = 256;  // output pixels per column matrix, about
constexpr int64_t kWeightChunks = 8;  // partial weight gradients, added in order

float* pixel(const View& v, int64_t image, int64_t row, int64_t column) {
  return static_cast<float*>(v.data) + image * v.strides[0] + row * v.strides[1] + column * v.strides[2];
}

struct Problem {
  View image;   // x or grad_x
  View output;  // y or grad_y
  int64_t channels, kernel_rows, kernel_columns, stride, padding;

  int64_t depth() const { return kernel_rows * kernel_columns * channels; }
  int64_t rows() const { return output.size(0) * output.size(1); }  // output rows of all images
  int64_t tile_rows() const {
    return std::max<int64_t>(1, kTilePixels / std::max<int64_t>(1, output.size(2)));
  }
};

// Calls body(matrix row, matrix column of the first channel, image pixel) for each tap on the image of the
// output rows [first, last).
template <class Body>
void for_taps(const Problem& p, int64_t first, int64_t last, const Body& body) {
  const int64_t width = p.output.size(2);
  for (int64_t r = first; r < last; ++r) {
    const int64_t image = r / p.output.size(1);
    const int64_t top = r % p.output.size(1) * p.stride - p.padding;
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t u = 0; u < p.kernel_rows; ++u) {
        for (int64_t v = 0; v < p.kernel_columns; ++v) {
          const int64_t row = top + u;
          const int64_t column = j * p.stride - p.padding + v;
          if (row < 0 || row >= p.image.size(1) || column < 0 || column >= p.image.size(2)) continue;
          body((r - first) * width + j, (u * p.kernel_columns + v) * p.channels,
               pixel(p.image, image, row, column));
        }
      }
    }
  }
}

// [pixels, depth]
Matrix columns_of(const Problem& p, int64_t first, int64_t last) {
  Matrix columns = Matrix::Zero((last - first) * p.output.size(2), p.depth());
  for_taps(p, first, last, [&](int64_t i, int64_t k, const float* from) {
    std::copy_n(from, p.channels, columns.data() + i * p.depth() + k);
  });
  return columns;
}

// [pixels, out]: a copy of the output rows [first, last), which may lie apart in memory.
Matrix output_of(const Problem& p, int64_t first, int64_t last) {
  const int64_t width = p.output.size(2);
  const int64_t out = p.output.size(3);
  Matrix result((last - first) * width, out);
  for (int64_t i = 0; i < result.rows(); ++i) {
    const int64_t r = first + i / width;
    std::copy_n(pixel(p.output, r / p.output.size(1), r % p.output.size(1), i % width), out,
                result.data() + i * out);
  }
  return result;
}

// weight [out, in, kernel rows, kernel columns] as [depth, out].
Matrix pack(const View& weight) {
  const int64_t out = weight.size(0);
  const int64_t in = weight.size(1);
  const int64_t taps = weight.size(2) * weight.size(3);
  Matrix packed(taps * in, out);
  const auto* from = static_cast<const float*>(weight.data);
  for (int64_t n = 0; n < out; ++n) {
    for (int64_t c = 0; c < in; ++c) {
      for (int64_t t = 0; t < taps; ++t) packed(t * in + c, n) = from[(n * in + c) * taps + t];
    }
  }
  return packed;
}

void unpack(const Matrix& packed, const View& weight) {
  const int64_t out = weight.size(0);
  const int64_t in = weight.size(1);
  const int64_t taps = weight.size(2) * weight.size(3);
  auto* to = static_cast<float*>(weight.data);
  for (int64_t n = 0; n < out; ++n) {
    for (int64_t c = 0; c < in; ++c) {
      for (int64_t t = 0; t < taps; ++t) to[(n * in + c) * taps + t] = packed(t * in + c, n);
    }
  }
}

void run_forward(const ConvolutionForward& c) {
  const Problem p{c.x, c.y, c.weight.size(1), c.weight.size(2), c.weight.size(3), c.stride, c.padding};
  const Matrix weight = pack(c.weight);
  const int64_t width = c.y.size(2);
  const int64_t out = c.y.size(3);
  core::parallel_for(0, p.rows(), p.tile_rows(), [&](int64_t first, int64_t last) {
    Matrix product = columns_of(p, first, last) * weight;
    if (c.bias.defined()) {
      product.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(static_cast<const float*>(c.bias.data), out);
    }
    for (int64_t i = 0; i < product.rows(); ++i) {
      const int64_t r = first + i / width;
      std::copy_n(product.data() + i * out, out, pixel(c.y, r / c.y.size(1), r % c.y.size(1), i % width));
    }
  });
}

// Parallel over images, whose gradients do not overlap.
void input_gradient(const Problem& p, const View& packed_weight, bool accumulate) {
  const Matrix weight = pack(packed_weight).transpose();  // [out, depth]
  core::parallel_for(0, p.image.size(0), 1, [&](int64_t image, int64_t) {
    for (int64_t row = 0; !accumulate && row < p.image.size(1); ++row) {
      for (int64_t j = 0; j < p.image.size(2); ++j)
        std::fill_n(pixel(p.image, image, row, j), p.channels, 0.0F);
    }
    const int64_t end = (image + 1) * p.output.size(1);
    for (int64_t first = image * p.output.size(1); first < end; first += p.tile_rows()) {
      const int64_t last = std::min(end, first + p.tile_rows());
      const Matrix columns = output_of(p, first, last) * weight;
      for_taps(p, first, last, [&](int64_t i, int64_t k, float* to) {
        const float* from = columns.data() + i * p.depth() + k;
        for (int64_t c = 0; c < p.channels; ++c) to[c] += from[c];
      });
    }
  });
}

void weight_gradient(const Problem& p, const View& grad_weight) {
  const int64_t out = p.output.size(3);
  const int64_t grain = std::max<int64_t>(1, (p.rows() + kWeightChunks - 1) / kWeightChunks);
  std::vector<Matrix> partial(static_cast<size_t>((p.rows() + grain - 1) / grain));
  core::parallel_for(0, p.rows(), grain, [&](int64_t begin, int64_t end) {
    Matrix sum = Matrix::Zero(p.depth(), out);
    for (int64_t first = begin; first < end; first += p.tile_rows()) {
      const int64_t last = std::min(end, first + p.tile_rows());
      sum.noalias() += columns_of(p, first, last).transpose() * output_of(p, first, last);
    }
    partial[static_cast<size_t>(begin / grain)] = std::move(sum);
  });
  Matrix total = Matrix::Zero(p.depth(), out);
  for (const Matrix& m : partial) total += m;
  unpack(total, grad_weight);
}

void run_backward(const ConvolutionBackward& c) {
  Problem p{c.x, c.grad_y, c.weight.size(1), c.weight.size(2), c.weight.size(3), c.stride, c.padding};
  if (c.grad_weight.defined()) weight_gradient(p, c.grad_weight);
  if (c.grad_bias.defined()) {
    Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(c.grad_y.size(3));
    for (int64_t r = 0; r < p.rows(); ++r) sum += output_of(p, r, r + 1).cast<double>().colwise().sum();
    Eigen::Map<Eigen::RowVectorXf>(static_cast<float*>(c.grad_bias.data), c.grad_y.size(3)) =
        sum.cast<float>();
  }
  p.image = c.grad_x;
  if (c.grad_x.defined()) input_gradient(p, c.weight, c.accumulate_x);
}

const Register<ConvolutionForward> forward("eigen", kCpu, 5, {takes::f32, takes::adjacent_channels},
                                           run_forward);
const Register<ConvolutionBackward> backward("eigen", kCpu, 5, {takes::f32, takes::adjacent_channels},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
