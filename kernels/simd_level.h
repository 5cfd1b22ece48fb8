// Which instruction set the vector kernels run on.
#pragma once

#include <cstdint>
#include <string>

namespace medfusion::kernels {

// The set chosen on this processor among those that are compiled in, by Highway's name: "AVX2", "NEON", ...
std::string simd_level();

// Floats in one of its vectors.
int64_t simd_float_lanes();

}  // namespace medfusion::kernels
