// Elements of f32 or bf16 for kernels that compute in float: bf16 is moved two to a word, up to 16 bytes per
// access, and rounded where it is stored.
#pragma once

#include "kernels/gpu/intrinsics.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

template <class T>
inline constexpr int kWide = 16 / static_cast<int>(sizeof(T));  // elements of a whole access

// Calls body(T{}) with the element type of a view in f32 or bf16.
template <class Body>
void visit_floats(core::DType dtype, const Body& body) {
  if (dtype == core::DType::bf16) {
    body(BFloat16{});
  } else {
    body(float{});
  }
}
inline bool is_f32_or_bf16(core::DType dtype) {
  return dtype == core::DType::f32 || dtype == core::DType::bf16;
}

__device__ __forceinline__ float to_float(BFloat16 x) { return low_bf16(x.bits); }
__device__ __forceinline__ BFloat16 to_bf16(float x) {
  BFloat16 rounded;
  rounded.bits = static_cast<uint16_t>(pack_bf16(x, 0.0F));
  return rounded;
}

// N elements as they lie in memory; [] makes a float of one.
template <class T, int N>
struct Pack {
  Vector<T, N> v;
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};
template <int N>
struct Pack<BFloat16, N> {
  Vector<uint32_t, N / 2> words;
  __device__ __forceinline__ float operator[](int i) const {
    return i % 2 == 0 ? low_bf16(words[i / 2]) : high_bf16(words[i / 2]);
  }
};
template <>
struct Pack<BFloat16, 1> {
  BFloat16 value;
  __device__ __forceinline__ float operator[](int /*i*/) const { return to_float(value); }
};

// The words of bf16 elements from i on.
#ifdef __CUDACC__
template <class Word, class T>
__device__ __forceinline__ Word* words_at(T* x, At i) {
  return reinterpret_cast<Word*>(x + i);
}
__device__ __forceinline__ At first_word(At /*i*/) { return 0; }
#else
template <class Word, class T>
Global<Word> words_at(const Global<T>& x, At i) {
  return (x + i.value).template as<Word>();
}
inline At first_word(At i) { return {0, i.site}; }
#endif

template <int N>
__device__ __forceinline__ Pack<float, N> load_pack(const Global<const float>& x, At i) {
  return {load<N>(x, i)};
}
template <int N>
__device__ __forceinline__ Pack<BFloat16, N> load_pack(const Global<const BFloat16>& x, At i) {
  if constexpr (N == 1) {
    return {load<1>(x, i)[0]};
  } else {
    return {load<N / 2>(words_at<const uint32_t>(x, i), first_word(i))};
  }
}

// N elements in accesses of at most 16 bytes.
template <int N, class T>
__device__ __forceinline__ Vector<T, N> load_parts(const Global<const T>& x, At i) {
  constexpr int kPart = N < kWide<T> ? N : kWide<T>;
  Vector<T, N> result;
#pragma unroll
  for (int part = 0; part < N; part += kPart) {
    const auto v = load<kPart>(x + part, i);
#pragma unroll
    for (int k = 0; k < kPart; ++k) result[part + k] = v[k];
  }
  return result;
}

template <int N>
__device__ __forceinline__ Vector<float, N> load_floats(const Global<const float>& x, At i) {
  return load_parts<N, float>(x, i);
}
template <int N>
__device__ __forceinline__ Vector<float, N> load_floats(const Global<const BFloat16>& x, At i) {
  const auto pack = load_pack<N>(x, i);
  Vector<float, N> result;
#pragma unroll
  for (int k = 0; k < N; ++k) result[k] = pack[k];
  return result;
}

template <int N>
__device__ __forceinline__ void store_floats(const Global<float>& y, At i, const Vector<float, N>& v) {
  store<N>(y, i, v);
}
template <int N>
__device__ __forceinline__ void store_floats(const Global<BFloat16>& y, At i, const Vector<float, N>& v) {
  if constexpr (N == 1) {
    store<1>(y, i, Vector<BFloat16, 1>{{to_bf16(v[0])}});
  } else {
    Vector<uint32_t, N / 2> words;
#pragma unroll
    for (int k = 0; k < N / 2; ++k) words[k] = pack_bf16(v[2 * k], v[2 * k + 1]);
    store<N / 2>(words_at<uint32_t>(y, i), first_word(i), words);
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
