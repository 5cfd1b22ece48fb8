// Calls of a vendor's library from a kernel's host code. On the `sim` device, where there is none, the CPU
// kernel does the work, on the same memory and when its stream gets to it.
#pragma once

#include <initializer_list>
#include <vector>

#include "core/tensor.h"
#include "kernels/concat/concat.h"
#include "kernels/elementwise/tensor_ops_simt.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/image.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// Queues work(native_stream), which reads and writes the memory of the views.
template <class Work>
void library_call(const char* name, core::Device device, std::initializer_list<const core::View*> reads,
                  std::initializer_list<const core::View*> writes, Work work) {
  std::vector<core::Access> accesses;
  for (const core::View* v : reads) accesses.push_back({v->data, false});
  for (const core::View* v : writes) accesses.push_back({v->data, true});
  core::runtime(device).launch(core::current_stream(device), name, accesses, std::move(work));
}

// The same memory, for a CPU kernel.
inline core::View on_host(core::View v) {
  v.device = {};
  return v;
}

// to = from, any strides.
inline void copy_view(const core::View& from, const core::View& to) {
  // Runs of one element, as in a weight with its channels last, are bytes to concat.
  if (from.dtype == core::DType::bf16) return convert_view(from, to);
  kernels::dispatch<kernels::ConcatForward>({0, {from}, to}, kDevice);
}

// An operand in the layout that a library takes: the view itself, or a contiguous copy of it where it has
// gaps or its address is not a multiple of 16 bytes. Libraries choose algorithms by descriptors, which say
// nothing of addresses, and use vectors of 16 bytes in f32 as well.
class Packed {
 public:
  // A copy of what `from` holds.
  explicit Packed(const core::View& from) : Packed(from, true) {}
  // Room for what is written back to `to` by unpack().
  static Packed room_for(const core::View& to) { return Packed(to, false); }

  const core::View& view() const { return copy_.defined() ? copy_.view() : original_; }
  void unpack() const {
    if (copy_.defined()) copy_view(copy_.view(), original_);
  }

 private:
  Packed(const core::View& v, bool fill) : original_(v) {
    if (v.contiguous() && reinterpret_cast<uintptr_t>(v.data) % 16 == 0) return;
    copy_ = core::Tensor::empty(v.shape, v.dtype, v.device);
    if (fill) copy_view(v, copy_.view());
  }

  core::View original_;
  core::Tensor copy_;
};

// A tensor without gaps as one row: [1, 1, 1, n].
inline core::View flat(const core::View& v) {
  core::View row = v;
  row.shape = {1, 1, 1, v.numel()};
  row.strides = {1, 1, 1, 1};
  return row;
}

// y = bias (+ y), for every pixel; a null bias is 0. N > 1 takes an aligned bias of stride 1.
template <int N, class T>
__global__ void __launch_bounds__(128)
    library_bias(Image<T> y, Global<const float> bias, int64_t bias_stride, bool accumulate) {
  for_pixels<N>(y, [&](int b, int i, int j, int c) {
    Vector<float, N> sum{};
    if (accumulate) sum = load_floats<N>(Global<const T>(y.data), y.at(b, i, j) + c);
    if (bias != nullptr) {
      const auto added = load_floats<N>(bias, c * bias_stride);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += added[k];
    }
    store_floats<N>(y.data, y.at(b, i, j) + c, sum);
  });
}

// For an image [batch, height, width, channels] in f32 or bf16; bias [channels] in f32, which may be
// undefined.
inline void set_bias(const core::View& y, const core::View& bias, bool accumulate) {
  if (y.numel() == 0 || (accumulate && !bias.defined())) return;
  visit_floats(y.dtype, [&]<class T>(T /*element*/) {
    const bool wide = aligned_pixels(y, kWide<T>) && reinterpret_cast<uintptr_t>(bias.data) % 16 == 0 &&
                      (!bias.defined() || bias.stride(0) == 1);
    launch({"library_bias", y.device, image_grid(y, wide ? kWide<T> : 1, 128), dim3(128)},
           wide ? library_bias<kWide<T>, T> : library_bias<1, T>, Image<T>(y),
           bias.defined() ? bias.as<float>() : nullptr, bias.defined() ? bias.stride(0) : 0, accumulate);
  });
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
