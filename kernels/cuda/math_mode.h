// What the vendor's libraries may do to be faster.
#pragma once

namespace medfusion::cuda {

// Whether products of f32 may round their operands to TF32 (10 bits of mantissa), for tensor cores. Off
// unless set, or MEDFUSION_ALLOW_TF32=1 in the environment.
bool allow_tf32();
void set_allow_tf32(bool allow);

}  // namespace medfusion::cuda
