// cuBLAS on `cuda`, the CPU kernel in its place on `sim`. The library adds to what the bias has set.
#include <algorithm>

#include "kernels/gpu/library_call.cuh"
#include "kernels/matmul/matmul.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#ifdef __CUDACC__
#include "kernels/gpu/cublas.cuh"
#endif

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::View;

// A matrix, or a batch of them, as cuBLAS takes it: rows `ld` apart, or columns where it is transposed.
struct Operand {
  int64_t ld = 1;
  bool transposed = false;
  bool direct = false;  // it lies in memory like that
};

Operand operand_of(const View& v) {
  const int64_t rows = v.size(-2), columns = v.size(-1);
  const int64_t row_step = rows > 1 ? v.stride(-2) : std::max<int64_t>(1, columns);
  const int64_t column_step = columns > 1 ? v.stride(-1) : 1;
  if (column_step == 1 && row_step >= columns) return {std::max<int64_t>(1, row_step), false, true};
  const int64_t step = columns > 1 ? v.stride(-1) : std::max<int64_t>(1, rows);
  if ((rows <= 1 || v.stride(-2) == 1) && step >= rows) return {std::max<int64_t>(1, step), true, true};
  return {};
}

// The view, or a copy that cuBLAS can read.
class Readable {
 public:
  explicit Readable(const View& v) : view_(v) {
    if (operand_of(v).direct) return;
    copy_ = core::Tensor::empty(v.shape, v.dtype, v.device);
    copy_view(v, copy_.view());
    view_ = copy_.view();
  }
  const View& view() const { return view_; }

 private:
  View view_;
  core::Tensor copy_;
};

int64_t batch_of(const View& c) { return c.rank() == 3 ? c.size(0) : 1; }

#ifndef __CUDACC__
// A bf16 operand in f32, for the CPU kernel; undefined for one in f32.
core::Tensor widened(const View& v) {
  if (v.dtype != core::DType::bf16) return {};
  core::Tensor wide = core::Tensor::empty(v.shape);
  for (int64_t i = 0; i < v.numel(); ++i) {
    wide.data<float>()[i] = static_cast<float>(core::element<core::BFloat16>(v, i));
  }
  return wide;
}
#endif

// c = a b, or c += a b; all direct, c by rows.
void multiply(const View& a, const View& b, const View& c, bool accumulate, [[maybe_unused]] bool tf32) {
#ifdef __CUDACC__
  const core::Stream stream = core::current_stream(c.device);
  library_call("matmul", c.device, {&a, &b}, {&c}, [&](void* native) {
    // By columns, as cuBLAS reads memory, the product is c^T = b^T a^T.
    const Operand left = operand_of(b), right = operand_of(a), out = operand_of(c);
    const auto operation = [](const Operand& o) { return o.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    const auto batch_step = [](const View& v) { return v.rank() == 3 && v.size(0) > 1 ? v.stride(0) : 0; };
    const float alpha = 1.0F, beta = accumulate ? 1.0F : 0.0F;
    if (a.dtype == core::DType::bf16) {
      check_cublas(cublasGemmStridedBatchedEx_64(
                       Cublas::of(c.device, stream, native, tf32), operation(left), operation(right),
                       c.size(-1), c.size(-2), a.size(-1), &alpha, b.data, CUDA_R_16BF, left.ld,
                       batch_step(b), a.data, CUDA_R_16BF, right.ld, batch_step(a), &beta, c.data, CUDA_R_32F,
                       out.ld, batch_step(c), batch_of(c), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                   "cublasGemmStridedBatchedEx");
      return;
    }
    check_cublas(
        cublasSgemmStridedBatched_64(Cublas::of(c.device, stream, native, tf32), operation(left),
                                     operation(right), c.size(-1), c.size(-2), a.size(-1), &alpha,
                                     b.as<float>(), left.ld, batch_step(b), a.as<float>(), right.ld,
                                     batch_step(a), &beta, c.as<float>(), out.ld, batch_step(c), batch_of(c)),
        "cublasSgemmStridedBatched");
  });
#else
  library_call("matmul", c.device, {&a, &b}, {&c}, [=](void* /*native*/) {
    const core::Tensor left = widened(a), right = widened(b);
    dispatch<MatmulForward>({.a = left.defined() ? left.view() : on_host(a),
                             .b = right.defined() ? right.view() : on_host(b),
                             .c = on_host(c),
                             .accumulate = accumulate},
                            core::DeviceType::cpu);
  });
#endif
}

// c as an image whose pixels are its rows.
View rows_of(const View& c) {
  View image = c;
  image.shape = {batch_of(c), 1, c.size(-2), c.size(-1)};
  image.strides = {c.rank() == 3 ? c.stride(0) : 0, 0, c.stride(-2), c.stride(-1)};
  return image;
}

bool writable(const View& c) {
  const Operand o = operand_of(c);
  return o.direct && !o.transposed && (batch_of(c) <= 1 || c.stride(0) != 0);
}

void run_forward(const MatmulForward& m) {
  if (m.c.numel() == 0) return;
  if (!writable(m.c)) {
    if (!m.bias.defined() && writable(transposed(m.c))) {
      run_forward({.a = transposed(m.b),
                   .b = transposed(m.a),
                   .c = transposed(m.c),
                   .accumulate = m.accumulate,
                   .tf32 = m.tf32});
      return;
    }
    const core::Tensor product = core::Tensor::empty(m.c.shape, m.c.dtype, m.c.device);
    if (m.accumulate) copy_view(m.c, product.view());
    run_forward({.a = m.a,
                 .b = m.b,
                 .bias = m.bias,
                 .c = product.view(),
                 .accumulate = m.accumulate,
                 .tf32 = m.tf32});
    copy_view(product.view(), m.c);
    return;
  }
  const bool nothing = m.a.size(-1) == 0;
  const bool prepared = m.bias.defined() || (nothing && !m.accumulate);
  if (prepared) set_bias(rows_of(m.c), m.bias, m.accumulate);
  if (nothing) return;
  const Readable a(m.a), b(m.b);
  multiply(a.view(), b.view(), m.c, m.accumulate || prepared, m.tf32);
}

void run_backward(const MatmulBackward& m) {
  if (m.grad_a.defined()) run_forward({.a = m.grad_c, .b = transposed(m.b), .c = m.grad_a, .tf32 = m.tf32});
  if (m.grad_b.defined()) run_forward({.a = transposed(m.a), .b = m.grad_c, .c = m.grad_b, .tf32 = m.tf32});
  if (!m.grad_bias.defined()) return;
  View sum = m.grad_bias;  // of the rank of grad_c, sizes 1 but the last
  sum.shape =
      m.grad_c.rank() == 3 ? core::Shape{1, 1, m.grad_bias.numel()} : core::Shape{1, m.grad_bias.numel()};
  const int64_t step = m.grad_bias.stride(0);
  sum.strides = m.grad_c.rank() == 3 ? core::Strides{1, 1, step} : core::Strides{1, step};
  dispatch<ReduceForward>({Reduction::sum, m.grad_c, sum, {}}, kDevice);
}

bool takes_types(const MatmulForward& m) {
  return m.c.dtype == core::DType::f32 && m.a.dtype == m.b.dtype && is_f32_or_bf16(m.a.dtype);
}

const Register<MatmulForward> forward("cublas", kDevice, 10,
                                      {{"f32, or bf16 into f32", takes_types}, takes::any_strides},
                                      run_forward);
const Register<MatmulBackward> backward("cublas", kDevice, 10, {takes::f32, takes::any_strides},
                                        run_backward);

}  // namespace
}  // namespace medfusion::kernels
