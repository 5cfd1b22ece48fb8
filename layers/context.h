// What a forward pass needs to know beyond its inputs.
#pragma once

#include <array>
#include <cstdint>

#include "core/autograd.h"
#include "core/settings.h"

namespace medfusion::layers {

struct Trace;
class ShardExchange;

// How a device other than the cpu computes in f32 networks. `tf32`: products and convolutions may round their
// operands to 10 bits of mantissa. `bf16`, mixed precision: every Linear multiplies in bf16 (linear_bf16 of
// layers/functional/matmul.h), attention takes q, k and v in bf16, and every Convolution takes and gives
// images in bf16, which the functions after it keep: batch norm, ReLU, pooling, upsampling, dense blocks.
// Global pooling ends in f32; parameters, statistics, losses and everything not named here stay f32.
inline constexpr std::array kPrecisions{"f32", "tf32", "bf16"};
enum class Precision : uint8_t { f32, tf32, bf16 };
constexpr core::Names names_of(Precision) { return kPrecisions; }

// One per pass: random layers take their streams from it in the order in which they run, so a pass is
// repeatable from (seed, first stream + base).
struct Context {
  bool training = false;
  uint64_t seed = 0;
  uint64_t stream = 0;  // the next random layer's Philox stream
  // i64 [1] on the network's device, or undefined: added to the streams when the work runs.
  core::Tensor base = {};
  Precision precision = Precision::f32;
  // Where batch norms take their statistics from the whole batch, of which this is a shard; null: from what
  // they get.
  ShardExchange* shards = nullptr;
  Trace* trace = nullptr;  // layers/trace.h; null: nobody looks inside

  uint64_t next_stream() { return stream++; }
  bool tf32() const { return precision == Precision::tf32; }
  // Whether the layers of mixed precision compute `x` in bf16.
  bool in_bf16(const core::Variable& x) const {
    return precision == Precision::bf16 && x.dtype() != core::DType::f64 &&
           x.value().device().type != core::DeviceType::cpu;
  }
};

}  // namespace medfusion::layers
