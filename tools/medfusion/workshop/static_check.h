// What the machine code of shipped kernels must fulfil, checked without a GPU.
#pragma once

#include <string>
#include <vector>

#include "tools/medfusion/workshop/machine_code.h"

namespace medfusion::tools {

struct ShippedVariant {
  std::string operation, variant;
};

// Violations, one sentence each; empty where there are none. Rules:
//
// 1. Every kernel keeps its registers: no bytes of spills, and no local memory in the machine code. There are
//    no exceptions.
// 2. Every tensor-core variant, which is any but `simt`, `cublas` and `cudnn`, has tensor-core instructions
//    (HMMA, HGMMA), in each architecture it is compiled for; and where one instantiation of a kernel has
//    them, all have.
// 3. A kernel template whose first argument is the number of elements per access is bound by memory. It shows
//    by an instantiation <1>, its path for rows that are not aligned. Its widest instantiation, the aligned
//    path, moves at least 90 % of its bytes in accesses of 16 bytes (InstructionMix::wide_share).
// 4. Each variant of `shipped` has machine code, but for `cublas` and `cudnn`.
std::vector<std::string> static_violations(const std::vector<KernelCode>& kernels,
                                           const std::vector<ShippedVariant>& shipped);

// The aligned paths of rule 3.
std::vector<const KernelCode*> aligned_paths(const std::vector<KernelCode>& kernels);

}  // namespace medfusion::tools
