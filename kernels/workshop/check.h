// Checks one case of an operation: gradients of the float64 reference by central differences, and every other
// variant against the reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {

struct CheckOptions {
  uint64_t seed = 20;
  int gradient_samples = 24;                 // elements of each input whose derivative is taken numerically
  core::Device device{};                     // that parity runs the variant on
  core::DType precision = core::DType::f32;  // that parity runs the variant in: f32 or bf16
  uint64_t* digest = nullptr;                // where given, parity leaves a hash of every output's bits
};

// Fills a tensor as the slot says, by draws of Philox(seed, stream).
void fill_slot(const Slot& slot, const core::Tensor& tensor, uint64_t seed, uint64_t stream);

// Each returns the failures, one line each: empty means passed. A thrown error is a failure too.
// The reference's backward against central differences in f64 (fixed step 1e-5).
std::vector<std::string> check_gradients(const OpCase& op_case, const CheckOptions& options = {});
// Forward and backward of `variant` in f32 (or bf16) against the reference in f64 (or storing bf16 where the
// case wants that) on the same (rounded) inputs. Both read NaN-filled outputs and guard zones are verified
// afterwards. A variant without a backward is followed by the one that dispatch takes. A case that the
// variant does not support passes; `supported` tells.
std::vector<std::string> check_parity(const OpCase& op_case, const std::string& variant,
                                      const CheckOptions& options = {}, bool* supported = nullptr);
// Parity on `sim` under `schedules` orders of its threads, blocks and streams, seeds 1 to schedules: all must
// give the same bits. Stops at the first order that fails. The seed of before is put back.
std::vector<std::string> check_schedules(const OpCase& op_case, const std::string& variant,
                                         const CheckOptions& options, int64_t schedules,
                                         bool* supported = nullptr);
// The names of the variants registered for the operation on a device, without the reference.
std::vector<std::string> variants_of(const std::string& operation, core::DeviceType device);

}  // namespace medfusion::kernels
