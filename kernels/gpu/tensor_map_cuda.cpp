// cuTensorMapEncodeTiled belongs to the driver. It is asked of the CUDA runtime when first called, so that
// the program is not linked to libcuda and starts without a driver.
#include "kernels/gpu/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace medfusion::kernels::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  constexpr unsigned kVersion = 12000;  // of CUDA, that has it
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kVersion,
                                                              cudaEnableDefault, &found);
#else
  const cudaError_t status =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  MEDFUSION_CHECK(status == cudaSuccess && found == cudaDriverEntryPointSuccess && function != nullptr,
                  "cuTensorMapEncodeTiled is not to be had ({}): the driver must support CUDA 12.0 or later",
                  cudaGetErrorString(status));
  return reinterpret_cast<Encode>(function);
}

}  // namespace

void encode_tensor_map(const TensorBoxes& x, void* map) {
  static const Encode encode = find_encode();
  std::array<cuuint64_t, 3> sizes{};
  std::array<cuuint64_t, 2> strides{};  // of all but the innermost, in bytes
  for (size_t i = 0; i < 3; ++i) sizes[i] = static_cast<cuuint64_t>(x.sizes[i]);
  for (size_t i = 0; i < 2; ++i)
    strides[i] = static_cast<cuuint64_t>(x.strides[i + 1]) * sizeof(core::BFloat16);
  const std::array<cuuint32_t, 3> box{static_cast<cuuint32_t>(kBoxColumns), static_cast<cuuint32_t>(x.rows),
                                      1},
      steps{1, 1, 1};
  const CUresult status =
      encode(static_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3,
             const_cast<core::BFloat16*>(x.data), sizes.data(), strides.data(), box.data(), steps.data(),
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  MEDFUSION_CHECK(status == CUDA_SUCCESS,
                  "cuTensorMapEncodeTiled: error {} for sizes ({}, {}, {}), strides ({}, {}) bytes, {} rows",
                  static_cast<int>(status), sizes[0], sizes[1], sizes[2], strides[0], strides[1], x.rows);
}

}  // namespace medfusion::kernels::cuda
