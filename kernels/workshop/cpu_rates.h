// What the cores of the cpu can do, measured: the ceilings that rows of `kernels bench` are held against.
#pragma once

#include <cstdint>

namespace medfusion::kernels {

// Both run on as many threads as parallel_for has, and give the fastest of the batches that fit into
// `seconds` (at least five), so that other programs on the machine hardly lower a ceiling.

// Operations per second of multiply-adds of f32 in registers; a multiply-add counts as two.
double multiply_add_rate(double seconds);
// Bytes per second of loops over `bytes` of memory, which the threads share: the fastest of summing them,
// copying them, and adding two parts of them into a third. Read and written bytes both count.
double memory_rate(int64_t bytes, double seconds);

}  // namespace medfusion::kernels
