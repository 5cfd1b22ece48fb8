// What a compiled GPU kernel is made of, read from the machine code that the engine's library holds:
// registers, memory, and the mix of its instructions. Static: what the compiler says, never a measurement.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace medfusion::tools {

// How many instructions of a kind a kernel has, each counted once wherever it stands.
struct InstructionMix {
  std::string source;                         // "SASS": machine code; "PTX": what it was made from
  std::map<int, int64_t> global_loads;        // by width in bytes; asynchronous copies (cp.async) included
  std::map<int, int64_t> global_stores;       // by width in bytes
  std::map<int, int64_t> in_loops;            // both, where they stand in a loop
  int64_t bulk_copies = 0;                    // of the tensor memory accelerator
  int64_t atomics = 0;                        // on global memory, reductions included
  int64_t hmma = 0;                           // mma.sync
  int64_t hgmma = 0;                          // wgmma
  int64_t local_loads = 0, local_stores = 0;  // LDL, STL: spills, and arrays that are indexed at run time
  int64_t barriers = 0;                       // of the block
  int64_t instructions = 0;

  // The part of the bytes moved to and from global memory that moves in accesses of 16 bytes: by the accesses
  // in loops, each counted once, or by all of them where none stands in a loop. 1 where there are none.
  double wide_share() const;
};

struct KernelCode {
  std::string mangled;
  std::string architecture;  // "sm_90a"
  std::string stem;          // of its file, "layer_norm_simt"; empty where no name in it tells
  std::string operation;     // "layer_norm"
  std::string variant;       // "simt"
  std::string kernel;        // "layer_norm_forward<4>"
  int registers = 0;         // per thread
  int64_t shared_bytes = 0;  // static; what a launch asks for comes on top
  int64_t stack_bytes = 0;   // per thread
  int max_threads = 0;       // per block, from __launch_bounds__; 0: not said
  std::optional<int64_t> spill_stores, spill_loads;  // bytes, where the report of ptxas is at hand
  // ptxas says of its wgmmas that each waits for the one before: then nothing runs beside them.
  bool wgmma_serialized = false;
  std::optional<InstructionMix> mix;
};

// The kernels of every cubin (machine code of one architecture) inside `file`, which is a library, an object
// or a cubin. The mix is that of the PTX that came along, where it did.
std::vector<KernelCode> read_kernels(std::string_view file);

// Sets operation, variant and kernel from the mangled name. `operations` holds the variants of each
// operation:
// {"layer_norm", {"simt"}}.
void name_kernel(KernelCode& code, const std::map<std::string, std::vector<std::string>>& operations);

// Adds the bytes of spills, and whether wgmmas are serialized, from what `ptxas -v` printed.
void add_ptxas_report(std::vector<KernelCode>& kernels, std::string_view report);

// Replaces the mix by that of the machine code, from what `cuobjdump -sass` or `nvdisasm` printed.
void add_sass(std::vector<KernelCode>& kernels, std::string_view listing);

// The mixes of single kernels: lines of PTX, lines of SASS.
InstructionMix mix_of_ptx(std::string_view text);
InstructionMix mix_of_sass(std::string_view text);

}  // namespace medfusion::tools
