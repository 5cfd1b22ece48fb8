#include <algorithm>
#include <cmath>

#include "kernels/registry.h"
#include "kernels/upsample_add/upsample_add.h"

namespace medfusion::kernels {

std::vector<ResizeTap> resize_taps(Resize resize, int64_t in, int64_t out) {
  std::vector<ResizeTap> taps(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    ResizeTap& tap = taps[static_cast<size_t>(i)];
    if (resize == Resize::nearest) {
      tap.first = tap.second = i * in / out;
      continue;
    }
    double place = 0.0;
    if (resize == Resize::bilinear) {
      place = (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
    } else if (out > 1) {
      place = static_cast<double>(i) * static_cast<double>(in - 1) / static_cast<double>(out - 1);
    }
    place = std::clamp(place, 0.0, static_cast<double>(in - 1));
    tap.first = static_cast<int64_t>(place);
    tap.second = std::min(tap.first + 1, in - 1);
    tap.weight = place - static_cast<double>(tap.first);
  }
  return taps;
}

namespace {

double& at(const core::View& x, int64_t b, int64_t i, int64_t j, int64_t c) {
  return x.as<double>()[b * x.strides[0] + i * x.strides[1] + j * x.strides[2] + c * x.strides[3]];
}

// Calls body(b, i, j, c, weight, I, J) for the four input pixels of every element of y.
template <class Body>
void for_taps(Resize resize, const core::Shape& x, const core::Shape& y, const Body& body) {
  const auto rows = resize_taps(resize, x[1], y[1]);
  const auto columns = resize_taps(resize, x[2], y[2]);
  for (int64_t b = 0; b < y[0]; ++b) {
    for (int64_t i = 0; i < y[1]; ++i) {
      for (int64_t j = 0; j < y[2]; ++j) {
        const ResizeTap& r = rows[static_cast<size_t>(i)];
        const ResizeTap& s = columns[static_cast<size_t>(j)];
        for (int64_t c = 0; c < y[3]; ++c) {
          body(b, r.first, s.first, c, (1 - r.weight) * (1 - s.weight), i, j);
          body(b, r.first, s.second, c, (1 - r.weight) * s.weight, i, j);
          body(b, r.second, s.first, c, r.weight * (1 - s.weight), i, j);
          body(b, r.second, s.second, c, r.weight * s.weight, i, j);
        }
      }
    }
  }
}

void run_forward(const UpsampleAddForward& a) {
  for (int64_t n = 0; n < a.y.numel(); ++n) {
    const double shift = a.bias.defined() ? core::element<double>(a.bias, n % a.y.size(3)) : 0.0;
    core::element<double>(a.y, n) = core::element<double>(a.lateral, n) + shift;
  }
  for_taps(a.resize, a.x.shape, a.y.shape,
           [&](int64_t b, int64_t i, int64_t j, int64_t c, double weight, int64_t out_i, int64_t out_j) {
             at(a.y, b, out_i, out_j, c) += weight * at(a.x, b, i, j, c);
           });
}

void run_backward(const UpsampleAddBackward& a) {
  if (a.grad_x.defined()) {
    for (int64_t n = 0; n < a.grad_x.numel(); ++n) core::element<double>(a.grad_x, n) = 0.0;
    for_taps(a.resize, a.grad_x.shape, a.grad_y.shape,
             [&](int64_t b, int64_t i, int64_t j, int64_t c, double weight, int64_t out_i, int64_t out_j) {
               at(a.grad_x, b, i, j, c) += weight * at(a.grad_y, b, out_i, out_j, c);
             });
  }
  if (a.grad_bias.defined()) {
    for (int64_t c = 0; c < a.grad_bias.numel(); ++c) core::element<double>(a.grad_bias, c) = 0.0;
    for (int64_t n = 0; n < a.grad_y.numel(); ++n) {
      core::element<double>(a.grad_bias, n % a.grad_y.size(3)) += core::element<double>(a.grad_y, n);
    }
  }
}

const Register<UpsampleAddForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_forward);
const Register<UpsampleAddBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
