#include "tools/medfusion/workshop/kernel_report.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "kernels/registry.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> tool_folders() {
  std::vector<fs::path> folders;
  if (const char* own = std::getenv("MEDFUSION_CUDA_TOOLS")) folders.emplace_back(own);
  if (const char* path = std::getenv("PATH")) {
    for (const std::string_view folder : split(path, ':')) {
      if (!folder.empty()) folders.emplace_back(folder);
    }
  }
  if (const char* home = std::getenv("CUDA_HOME")) folders.push_back(fs::path(home) / "bin");
  return folders;
}

// The folder of a tool; cuobjdump and nvdisasm may lie apart.
std::optional<fs::path> folder_of(const std::string& tool) {
  for (const fs::path& folder : tool_folders()) {
    std::error_code failure;
    if (fs::is_regular_file(folder / tool, failure)) return folder;
  }
  return std::nullopt;
}

// What cuobjdump prints of the library; empty without the tools.
std::string sass_listing(const fs::path& library) {
  const auto cuobjdump = folder_of("cuobjdump"), nvdisasm = folder_of("nvdisasm");
  if (!cuobjdump || !nvdisasm) return {};
  // cuobjdump calls nvdisasm.
  const std::string command =
      fmt::format("PATH={}:\"$PATH\" {} -sass {}", in_single_quotes(nvdisasm->string()),
                  in_single_quotes((*cuobjdump / "cuobjdump").string()), in_single_quotes(library.string()));
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw core::Error("cuobjdump cannot be run");
  std::string listing;
  std::array<char, 1 << 16> buffer{};
  for (size_t count = 0; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    listing.append(buffer.data(), count);
  }
  const int status = ::pclose(pipe);
  MEDFUSION_CHECK(status == 0, "cuobjdump -sass {} failed", library.string());
  return listing;
}

}  // namespace

std::vector<std::string> missing_listing_tools() {
  std::vector<std::string> missing;
  for (const char* tool : {"cuobjdump", "nvdisasm"}) {
    if (!folder_of(tool)) missing.emplace_back(tool);
  }
  return missing;
}

fs::path engine_library() {
  Dl_info info{};
  const auto* inside = reinterpret_cast<const void*>(&kernels::all_variants);
  MEDFUSION_CHECK(::dladdr(inside, &info) != 0 && info.dli_fname != nullptr,
                  "the engine's library is not found");
  return info.dli_fname;
}

KernelReport read_kernel_report(const fs::path& library) {
  KernelReport report;
  report.kernels = read_kernels(read_file(library));
  std::map<std::string, std::vector<std::string>> operations;
  for (const auto& info : kernels::all_variants()) operations[info.operation].push_back(info.name);
  for (KernelCode& code : report.kernels) name_kernel(code, operations);
  const fs::path ptxas = library.string() + ".ptxas";
  if (fs::exists(ptxas)) {
    add_ptxas_report(report.kernels, read_file(ptxas));
    report.has_spills = true;
  }
  if (!report.kernels.empty()) {
    const std::string listing = sass_listing(library);
    report.from_sass = !listing.empty();
    if (report.from_sass) add_sass(report.kernels, listing);
  }
  std::sort(report.kernels.begin(), report.kernels.end(), [](const KernelCode& a, const KernelCode& b) {
    return std::tie(a.operation, a.variant, a.kernel, a.architecture, a.mangled) <
           std::tie(b.operation, b.variant, b.kernel, b.architecture, b.mangled);
  });
  return report;
}

void select(KernelReport& report, const std::string& what, const std::string& architecture) {
  std::erase_if(report.kernels, [&](const KernelCode& code) {
    const bool named = what.empty() || what == code.operation || what == code.operation + "/" + code.variant;
    return !named || (!architecture.empty() && architecture != code.architecture);
  });
}

}  // namespace medfusion::tools
