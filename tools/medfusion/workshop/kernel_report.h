// Reads the machine code of the GPU kernels in a library and writes it down as a table, JSON or a page.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/medfusion/workshop/machine_code.h"

namespace medfusion::tools {

struct KernelReport {
  std::vector<KernelCode> kernels;  // sorted by operation, variant, kernel and architecture
  bool from_sass = false;           // the instruction mix is that of the machine code, not of PTX
  bool has_spills = false;          // a report of ptxas was at hand
};

// The library of the engine that runs.
std::filesystem::path engine_library();

// The kernels of a library, with the report of ptxas beside it (LIBRARY.ptxas), and with the listing of
// cuobjdump where that and nvdisasm are found: in $MEDFUSION_CUDA_TOOLS, the PATH, or $CUDA_HOME/bin.
KernelReport read_kernel_report(const std::filesystem::path& library);

// Which of cuobjdump and nvdisasm were not found there.
std::vector<std::string> missing_listing_tools();

// Keeps the kernels of "OPERATION" or "OPERATION/VARIANT", and of one architecture; empty: of all.
void select(KernelReport& report, const std::string& what, const std::string& architecture);

std::string as_table(const KernelReport& report);
std::string as_markdown(const KernelReport& report);
nlohmann::ordered_json as_json(const KernelReport& report);

}  // namespace medfusion::tools
