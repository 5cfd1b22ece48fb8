#include <cmath>

#include "kernels/pooling/pooling.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

double& at(const core::View& v, int64_t b, int64_t h, int64_t w, int64_t c) {
  return v.as<double>()[b * v.strides[0] + h * v.strides[1] + w * v.strides[2] + c * v.strides[3]];
}

template <class Body>
void for_each(const core::Shape& s, const Body& body) {
  for (int64_t b = 0; b < s[0]; ++b)
    for (int64_t h = 0; h < s[1]; ++h)
      for (int64_t w = 0; w < s[2]; ++w)
        for (int64_t c = 0; c < s[3]; ++c) body(b, h, w, c);
}

// Calls body(row, column, index in window) for the window's pixels in the image.
template <class Body>
void for_window(const PoolingWindow& p, const core::Shape& image, int64_t out_row, int64_t out_column,
                const Body& body) {
  for (int64_t i = 0; i < p.kernel * p.kernel; ++i) {
    const int64_t row = out_row * p.stride - p.padding + i / p.kernel;
    const int64_t column = out_column * p.stride - p.padding + i % p.kernel;
    if (row >= 0 && row < image[1] && column >= 0 && column < image[2]) body(row, column, i);
  }
}

bool wins(double value, double best) { return value > best || (std::isnan(value) && !std::isnan(best)); }

void run_forward(const PoolingForward& a) {
  int64_t output = 0;
  for_each(a.y.shape, [&](int64_t b, int64_t h, int64_t w, int64_t c) {
    double result = 0.0;
    int64_t count = 0;
    int64_t best = 0;
    for_window(a.window, a.x.shape, h, w, [&](int64_t row, int64_t column, int64_t i) {
      const double value = at(a.x, b, row, column, c);
      if (a.function == Pooling::average) {
        result += value;
      } else if (count == 0 || wins(value, result)) {
        result = value;
        best = i;
      }
      ++count;
    });
    at(a.y, b, h, w, c) = a.function == Pooling::average ? result / static_cast<double>(count) : result;
    if (a.function == Pooling::max) a.argmax.as<uint8_t>()[output] = static_cast<uint8_t>(best);
    ++output;
  });
}

void run_backward(const PoolingBackward& a) {
  for_each(a.grad_x.shape,
           [&](int64_t b, int64_t h, int64_t w, int64_t c) { at(a.grad_x, b, h, w, c) = 0.0; });
  int64_t output = 0;
  for_each(a.grad_y.shape, [&](int64_t b, int64_t h, int64_t w, int64_t c) {
    const double g = at(a.grad_y, b, h, w, c);
    int64_t count = 0;
    for_window(a.window, a.grad_x.shape, h, w, [&](int64_t, int64_t, int64_t) { ++count; });
    for_window(a.window, a.grad_x.shape, h, w, [&](int64_t row, int64_t column, int64_t i) {
      if (a.function == Pooling::average) {
        at(a.grad_x, b, row, column, c) += g / static_cast<double>(count);
      } else if (a.argmax.as<uint8_t>()[output] == i) {
        at(a.grad_x, b, row, column, c) += g;
      }
    });
    ++output;
  });
}

void run_global_forward(const GlobalPoolingForward& a) {
  const core::Shape& s = a.x.shape;
  for (int64_t b = 0; b < s[0]; ++b) {
    for (int64_t c = 0; c < s[3]; ++c) {
      double result = 0.0;
      int64_t best = 0;
      for (int64_t i = 0; i < s[1] * s[2]; ++i) {
        const double value = at(a.x, b, i / s[2], i % s[2], c);
        if (a.function == Pooling::average) {
          result += value;
        } else if (i == 0 || wins(value, result)) {
          result = value;
          best = i;
        }
      }
      if (a.function == Pooling::average) result /= static_cast<double>(s[1] * s[2]);
      core::element<double>(a.y, b * s[3] + c) = result;
      if (a.function == Pooling::max) a.argmax.as<int32_t>()[b * s[3] + c] = static_cast<int32_t>(best);
    }
  }
}

void run_global_backward(const GlobalPoolingBackward& a) {
  const core::Shape& s = a.grad_x.shape;
  for_each(s, [&](int64_t b, int64_t h, int64_t w, int64_t c) {
    const double g = core::element<double>(a.grad_y, b * s[3] + c);
    const bool won = a.function == Pooling::max && a.argmax.as<int32_t>()[b * s[3] + c] == h * s[2] + w;
    at(a.grad_x, b, h, w, c) = a.function == Pooling::average ? g / static_cast<double>(s[1] * s[2])
                               : won                          ? g
                                                              : 0.0;
  });
}

const Register<PoolingForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<PoolingBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                         run_backward);
const Register<GlobalPoolingForward> global_forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                                    run_global_forward);
const Register<GlobalPoolingBackward> global_backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                                      run_global_backward);

}  // namespace
}  // namespace medfusion::kernels
