// Products on the register tiles of kernels/gemm, by the layout of the operands:
// - k adjacent in a (and anything else, after a copy): rows of a times packed b;
// - k adjacent in both and fewer rows than columns (a linear layer on a small batch): rows of b times packed
// a, so
//   that the large operand is read once, unpacked;
// - rows adjacent in a, columns adjacent in b (weight gradients): a^T b without packing.
#include <algorithm>
#include <vector>

#include "core/threads.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using core::View;
using gemm::Packed;

constexpr int64_t kRows = 96;    // of a per task
constexpr int64_t kDepth = 256;  // steps of a^T b at a time
constexpr int64_t kBlock = 128;  // of c per task of a^T b, both ways, at most
constexpr int64_t kLeastBlock = 32;
constexpr int64_t kTasks = 8;  // wanted of a^T b

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

float* at(const View& m, int64_t i, int64_t j) { return m.as<float>() + i * m.stride(0) + j * m.stride(1); }

Packed pack(const View& b) {
  Packed packed(b.size(0), b.size(1));
  core::parallel_for(0, packed.panels(), 4, [&](int64_t first, int64_t last) {
    packed.set(b.as<float>(), b.stride(0), b.stride(1), 0, b.size(0), first, last);
  });
  return packed;
}

// Rows of c from rows of a (k adjacent, or copied so) and packed b.
void multiply_rows(const View& a, const Packed& b, const float* bias, const View& c, bool accumulate) {
  const int64_t depth = a.size(1);
  core::parallel_for(0, c.size(0), kRows, [&](int64_t first, int64_t last) {
    std::vector<const float*> rows;
    Tensor copy;
    if (a.stride(1) != 1 && depth > 1) {
      copy = Tensor::empty({last - first, depth});
      for (int64_t i = first; i < last; ++i) {
        for (int64_t k = 0; k < depth; ++k) copy.data<float>()[(i - first) * depth + k] = *at(a, i, k);
      }
    }
    for (int64_t i = first; i < last; ++i) {
      rows.push_back(copy.defined() ? copy.data<float>() + (i - first) * depth : at(a, i, 0));
    }
    gemm::multiply(gemm::Indirect{.a = rows.data(),
                                  .a_stride = last - first,
                                  .rows = last - first,
                                  .channels = depth,
                                  .b = &b,
                                  .bias = bias,
                                  .c = at(c, first, 0),
                                  .c_stride = c.stride(0),
                                  .accumulate = accumulate});
  });
}

// c^T from rows of b^T and packed a^T: each task a block of columns of c.
void multiply_columns(const View& a, const View& b, const float* bias, const View& c, bool accumulate) {
  const Packed left = pack(transposed(a));
  core::parallel_for(0, c.size(1), kRows, [&](int64_t first, int64_t last) {
    std::vector<const float*> rows;
    for (int64_t j = first; j < last; ++j) rows.push_back(at(b, 0, j));
    const int64_t width = c.size(0);
    const Tensor block = Tensor::empty({last - first, width});
    gemm::multiply(gemm::Indirect{.a = rows.data(),
                                  .a_stride = last - first,
                                  .rows = last - first,
                                  .channels = a.size(1),
                                  .b = &left,
                                  .c = block.data<float>(),
                                  .c_stride = width});
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t j = first; j < last; ++j) {
        float value = block.data<float>()[(j - first) * width + i] + (bias != nullptr ? bias[j] : 0.0F);
        float& to = *at(c, i, j);
        to = accumulate ? to + value : value;
      }
    }
  });
}

// c (+)= a b where rows of a and columns of b are adjacent: blocks of c, each over the whole depth, through
// copies of both operands that lie well in the cache.
void multiply_transposed(const View& a, const View& b, const View& c, bool accumulate) {
  int64_t block = kBlock;
  while (block > kLeastBlock && blocks(c.size(0), block) * blocks(c.size(1), block) < kTasks) block /= 2;
  const int64_t row_blocks = blocks(c.size(0), block);
  const int64_t depth = a.size(1);
  core::parallel_for(0, row_blocks * blocks(c.size(1), block), 1, [&](int64_t task, int64_t) {
    const int64_t i = task % row_blocks * block;
    const int64_t j = task / row_blocks * block;
    const int64_t rows = std::min(block, c.size(0) - i);
    const int64_t columns = std::min(block, c.size(1) - j);
    const int64_t a_stride = gemm::padded_stride(rows);
    const int64_t b_stride = gemm::padded_stride(columns);
    const Tensor left = Tensor::empty({std::min(depth, kDepth), a_stride});
    const Tensor right = Tensor::empty({std::min(depth, kDepth), b_stride});
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t steps = std::min(kDepth, depth - k);
      gemm::copy_rows(at(a, i, k), a.stride(1), steps, rows, left.data<float>(), a_stride);
      gemm::copy_rows(at(b, k, j), b.stride(0), steps, columns, right.data<float>(), b_stride);
      gemm::multiply(gemm::Transposed{.a = left.data<float>(),
                                      .a_segment = 0,
                                      .a_step = a_stride,
                                      .b = right.data<float>(),
                                      .b_segment = 0,
                                      .b_step = b_stride,
                                      .segments = 1,
                                      .steps = steps,
                                      .rows = rows,
                                      .columns = columns,
                                      .c = at(c, i, j),
                                      .c_stride = c.stride(0),
                                      .accumulate = accumulate || k > 0});
    }
  });
}

void multiply_matrix(const View& a, const View& b, const View& bias, const View& c, bool accumulate) {
  std::vector<float> offsets;
  for (int64_t j = 0; bias.defined() && j < c.size(1); ++j) {
    offsets.push_back(bias.as<float>()[j * bias.stride(0)]);
  }
  const float* offset = bias.defined() ? offsets.data() : nullptr;
  const bool depth_adjacent_a = a.stride(1) == 1 || a.size(1) <= 1;
  const bool depth_adjacent_b = b.stride(0) == 1;
  if (a.size(1) > 1 && a.stride(0) == 1 && b.stride(1) == 1 && !bias.defined()) {
    multiply_transposed(a, b, c, accumulate);
  } else if (depth_adjacent_a && depth_adjacent_b && 2 * c.size(0) <= c.size(1)) {
    multiply_columns(a, b, offset, c, accumulate);
  } else {
    multiply_rows(a, pack(b), offset, c, accumulate);
  }
}

void run_forward(const MatmulForward& m) {
  if (m.c.numel() == 0) return;
  const int64_t batch = m.c.rank() == 3 ? m.c.size(0) : 1;
  core::parallel_for(0, batch, 1, [&](int64_t i, int64_t) {
    multiply_matrix(matrix_of(m.a, i), matrix_of(m.b, i), m.bias, matrix_of(m.c, i), m.accumulate);
  });
}

void bias_gradient(const View& grad_c, const View& grad_bias) {
  const int64_t batch = grad_c.rank() == 3 ? grad_c.size(0) : 1;
  std::vector<double> sums(static_cast<size_t>(grad_bias.numel()), 0.0);
  core::parallel_for(0, grad_bias.numel(), 64, [&](int64_t first, int64_t last) {
    for (int64_t n = 0; n < batch; ++n) {
      const View g = matrix_of(grad_c, n);
      for (int64_t i = 0; i < g.size(0); ++i) {
        for (int64_t j = first; j < last; ++j)
          sums[static_cast<size_t>(j)] += static_cast<double>(*at(g, i, j));
      }
    }
    for (int64_t j = first; j < last; ++j) {
      core::element<float>(grad_bias, j) = static_cast<float>(sums[static_cast<size_t>(j)]);
    }
  });
}

// A gradient whose columns are not adjacent is computed as its transpose.
void product(const View& a, const View& b, const View& c) {
  const bool swap = c.stride(-1) != 1 && c.size(-1) > 1;
  run_forward(swap ? MatmulForward{.a = transposed(b), .b = transposed(a), .c = transposed(c)}
                   : MatmulForward{.a = a, .b = b, .c = c});
}

bool adjacent(const View& v) {
  return !v.defined() || v.stride(-1) == 1 || v.stride(-2) == 1 || v.numel() <= 1;
}

void run_backward(const MatmulBackward& m) {
  if (m.grad_a.defined()) product(m.grad_c, transposed(m.b), m.grad_a);
  if (m.grad_b.defined()) product(transposed(m.a), m.grad_c, m.grad_b);
  if (m.grad_bias.defined()) bias_gradient(m.grad_c, m.grad_bias);
}

constexpr const char* kAdjacent = "adjacent columns of the result";
bool writes_rows(const MatmulForward& m) { return last_adjacent(m.c); }
bool writes_rows_or_columns(const MatmulBackward& m) { return adjacent(m.grad_a) && adjacent(m.grad_b); }

const Register<MatmulForward> forward("cpu", kCpu, 10, {takes::f32, {kAdjacent, writes_rows}}, run_forward);
const Register<MatmulBackward> backward("cpu", kCpu, 10, {takes::f32, {kAdjacent, writes_rows_or_columns}},
                                        run_backward);

}  // namespace
}  // namespace medfusion::kernels
