// Mixed precision for a training pass: parameters, statistics, losses and everything not named here stay f32.
#pragma once

namespace medfusion::layers {

// While one of these lives with `on`, on this thread, on a device other than the cpu: every Linear layer
// multiplies in bf16 (linear_bf16 of layers/functional/matmul.h), the encoder's attention takes q, k and v in
// bf16, and every Convolution takes and gives images in bf16, which the functions after it keep: batch norm,
// ReLU, pooling, upsampling, dense blocks. Global pooling ends in f32. Networks in f64 are left alone.
class AutocastScope {
 public:
  explicit AutocastScope(bool on);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool before_;
};

bool autocast();  // whether one is on

}  // namespace medfusion::layers
