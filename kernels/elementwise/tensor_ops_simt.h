// Copies between views on a device, for other rooms. Included by .cu files only.
#pragma once

#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// to = from: one shape, any strides, any dtypes.
void convert_view(const core::View& from, const core::View& to);

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
