// What the vendor's libraries may do to be faster.
#pragma once

namespace medfusion::cuda {

// Whether products of f32 may round their operands to TF32 (10 bits of mantissa), for tensor cores. Off
// unless set, or MEDFUSION_ALLOW_TF32=1 in the environment.
bool allow_tf32();
void set_allow_tf32(bool allow);

// Allows it, or not, while one lives.
class Tf32Scope {
 public:
  explicit Tf32Scope(bool allow) : before_(allow_tf32()) { set_allow_tf32(allow); }
  ~Tf32Scope() { set_allow_tf32(before_); }
  Tf32Scope(const Tf32Scope&) = delete;
  Tf32Scope& operator=(const Tf32Scope&) = delete;

 private:
  const bool before_;
};

}  // namespace medfusion::cuda
