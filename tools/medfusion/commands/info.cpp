// medfusion info: what this build is, and what it runs on.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/base.h>
#include <hwy/highway.h>
#include <toml++/toml.h>
#include <xxhash.h>
#include <zip.h>

#include <Eigen/Core>
#include <algorithm>
#include <fstream>
#include <memory>
#include <thread>

#include "core/communicator.h"
#include "core/error.h"
#include "core/runtime.h"
#ifdef MEDFUSION_WITH_CUDA
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/libraries_cuda.h"
#include "kernels/gpu/runtime_cuda.h"
#include "kernels/workshop/check.h"
#endif
#include "core/threads.h"
#include "kernels/simd_level.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/config/config.h"
#include "tools/medfusion/config/ready_configs.h"
#include "tools/medfusion/workshop/kernel_report.h"

namespace medfusion::tools {
namespace {

struct InfoOptions {
  CommonOptions common;
  bool config_keys = false;
};

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
}

#ifdef MEDFUSION_WITH_CUDA
// Of the driver itself, such as "580.65.06"; empty without one.
std::string driver_version() {
  std::string version;
  std::getline(std::ifstream("/sys/module/nvidia/version"), version);
  return version;
}

// In bytes; null where the device is too busy to say.
nlohmann::ordered_json free_memory(int index) {
  try {
    return core::runtime({kernels::cuda::kDeviceType, index}).memory().free;
  } catch (const core::Error&) {
    return nullptr;
  }
}
#endif

nlohmann::ordered_json devices() {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  list.push_back(
      {{"name", "cpu"}, {"processor", processor_name()}, {"cores", std::thread::hardware_concurrency()}});
#ifdef MEDFUSION_WITH_CUDA
  for (int i = 0; i < kernels::cuda::cuda_device_count(); ++i) {
    try {
      const kernels::cuda::CudaDeviceInfo& device = kernels::cuda::cuda_device_info(i);
      list.push_back({{"name", fmt::format("cuda:{}", i)},
                      {"processor", device.name},
                      {"cores", device.multiprocessors},
                      {"compute_capability", device.compute_capability},
                      {"memory_bytes", device.memory_bytes},
                      {"free_memory_bytes", free_memory(i)},
                      {"driver_version", text_or_null(driver_version())},
                      {"driver_cuda_version", kernels::cuda::cuda_driver_version()}});
    } catch (const core::Error&) {  // too old
    }
  }
#endif
  list.push_back({{"name", "sim"}});
  return list;
}

nlohmann::ordered_json libraries() {
  const auto triple = [](int a, int b, int c) { return fmt::format("{}.{}.{}", a, b, c); };
  const auto packed = [&](int number) { return triple(number / 10000, number / 100 % 100, number % 100); };
  return {
      {"CLI11", CLI11_VERSION},
#ifdef MEDFUSION_WITH_CUDA
      {"CUDA", kernels::cuda::cuda_runtime_version()},
#endif
      {"Eigen", triple(EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION)},
      {"fmt", packed(FMT_VERSION)},
      {"Highway", triple(HWY_MAJOR, HWY_MINOR, HWY_PATCH)},
      {"libzip", zip_libzip_version()},
      {"nlohmann-json",
       triple(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"stb_image", MEDFUSION_STB_IMAGE_VERSION},
      {"toml++", triple(TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH)},
      {"xxHash", packed(static_cast<int>(XXH_versionNumber()))},
  };
}

#ifdef MEDFUSION_WITH_CUDA
// Why this machine has no device that the build could use; empty where it has.
std::string missing_device() {
  std::string why;
  for (int i = std::max(kernels::cuda::cuda_device_count(), 1) - 1; i >= 0; --i) {
    try {
      kernels::cuda::cuda_device_info(i);
      return {};
    } catch (const core::Error& error) {  // the first is what counts
      why = error.what();
    }
  }
  return why;
}

// What becomes of the work of a library without it.
std::string without_library(const std::string& title) {
  if (title == "NCCL") return "ranks exchange tensors through the host";
  const bool cublas = title == "cuBLAS";
  const std::string operation = cublas ? "matmul" : "convolution",
                    work = cublas ? "matrix products" : "convolutions";
  std::vector<std::string> others = kernels::variants_of(operation, kernels::cuda::kDeviceType);
  std::erase(others, cublas ? "cublas" : "cudnn");
  return others.empty() ? fmt::format("cuda has no {} without it", work)
                        : fmt::format("{} run on {}", work, fmt::join(others, ", "));
}

// What the user can know and do where the library is not open.
std::string library_hint(const kernels::cuda::LibraryState& library) {
  std::string hint;
  if (!library.built_with) {
    const char* const header = library.title == "cuBLAS"  ? "cublas_v2.h"
                               : library.title == "cuDNN" ? "cudnn.h"
                                                          : "nccl.h of 2.13 or later";
    hint = fmt::format("{} was not found when this was configured; ", header);
  }
  for (const auto& [file, reason] : library.tried) {
    if (reason.starts_with("cannot open shared object file")) continue;  // it is not there
    hint += fmt::format("{}: {}; ", file, reason);
    break;
  }
  return hint + without_library(library.title) + "; " + library.remedy;
}
#endif

// The CUDA of the build, and its libraries as this machine has them.
nlohmann::ordered_json describe_cuda() {
#ifdef MEDFUSION_WITH_CUDA
  return {{"built_with", true},
          {"runtime_version", kernels::cuda::cuda_runtime_version()},
          {"hint", text_or_null(missing_device())}};
#else
  return {
      {"built_with", false},
      {"runtime_version", nullptr},
      {"hint",
       "no nvcc of CUDA 12.0 or later was found, or wanted, when this was configured; install NVIDIA's CUDA "
       "toolkit (package cuda-toolkit), which brings it, then configure and build again"}};
#endif
}
nlohmann::ordered_json describe_cuda_libraries() {
  nlohmann::ordered_json all;
#ifdef MEDFUSION_WITH_CUDA
  for (const kernels::cuda::LibraryState& library : kernels::cuda::library_states()) {
    nlohmann::ordered_json tried = nlohmann::ordered_json::array();
    for (const auto& [file, reason] : library.tried) tried.push_back({{"file", file}, {"reason", reason}});
    all[library.title] = {{"built_with", library.built_with},
                          {"header_version", text_or_null(library.header_version)},
                          {"found", text_or_null(library.path)},
                          {"version", text_or_null(library.version)},
                          {"hint", text_or_null(library.path.empty() ? library_hint(library) : "")},
                          {"tried", tried}};
  }
#else
  for (const char* title : {"cuBLAS", "cuDNN", "NCCL"}) {
    all[title] = {{"built_with", false},
                  {"header_version", nullptr},
                  {"found", nullptr},
                  {"version", nullptr},
                  {"hint", "the cuda device is not built"},
                  {"tried", nlohmann::ordered_json::array()}};
  }
#endif
  return all;
}

// What `mpirun -n N medfusion train` needs.
nlohmann::ordered_json describe_mpi() {
  const std::string version = core::mpi_version();
  return {
      {"version", text_or_null(version)},
      {"hint", text_or_null(core::has_mpi() ? ""
                                            : "training has one rank; install Open MPI with its headers "
                                              "(Debian: libopenmpi-dev), then configure and build again")}};
}

// What the kernels are inspected with.
nlohmann::ordered_json describe_cuda_tools() {
  const std::vector<std::string> missing = missing_listing_tools();
  std::string hint;
  if (!missing.empty()) {
    hint = fmt::format(
        "kernels inspect reads the PTX in place of the machine code; install NVIDIA's package cuda-{}",
        fmt::join(missing, " and cuda-"));
  }
  return {{"missing", missing}, {"hint", text_or_null(hint)}};
}

nlohmann::ordered_json describe_build() {
  return {
      {"version", MEDFUSION_VERSION},
      {"build_type", MEDFUSION_BUILD_TYPE},
      {"compiler", MEDFUSION_COMPILER},
      {"sanitizers", MEDFUSION_SANITIZE},
      {"devices", devices()},
      {"cuda", describe_cuda()},
      {"cuda_libraries", describe_cuda_libraries()},
      {"cuda_tools", describe_cuda_tools()},
      {"mpi", describe_mpi()},
      {"simd", {{"level", kernels::simd_level()}, {"float_lanes", kernels::simd_float_lanes()}}},
      {"threads", core::num_threads()},
      {"configurations", {{"folder", ready_config_folder().string()}, {"names", ready_config_names()}}},
      {"libraries", libraries()},
  };
}

std::string cuda_as_text(const nlohmann::ordered_json& info) {
  const auto text = [](const nlohmann::ordered_json& value) { return value.get<std::string>(); };
  const nlohmann::ordered_json& cuda = info["cuda"];
  if (!cuda["built_with"]) return fmt::format("cuda        not built: {}\n", text(cuda["hint"]));
  std::string result = fmt::format("cuda        CUDA {}{}\n", text(cuda["runtime_version"]),
                                   cuda["hint"].is_null() ? "" : "; " + text(cuda["hint"]));
  for (const auto& [title, library] : info["cuda_libraries"].items()) {
    if (!library["built_with"]) {
      result += fmt::format("library     built without {}: {}\n", title, text(library["hint"]));
    } else if (library["found"].is_null()) {
      result += fmt::format("library     {} not found: {}\n", title, text(library["hint"]));
    } else {
      result +=
          fmt::format("library     {} {} ({})\n", title, text(library["version"]), text(library["found"]));
    }
  }
  const nlohmann::ordered_json& tools = info["cuda_tools"];
  if (!tools["hint"].is_null()) {
    result +=
        fmt::format("tools       {} not found: {}\n",
                    fmt::join(tools["missing"].get<std::vector<std::string>>(), ", "), text(tools["hint"]));
  }
  return result;
}

std::string as_text(const nlohmann::ordered_json& info) {
  const auto text = [](const nlohmann::ordered_json& value) { return value.get<std::string>(); };
  const std::string sanitizers = text(info["sanitizers"]);
  std::string result = fmt::format("medfusion {}\n", text(info["version"]));
  result += fmt::format("build       {}, {}, sanitizers: {}\n", text(info["build_type"]),
                        text(info["compiler"]), sanitizers.empty() ? "none" : sanitizers);
  for (const auto& device : info["devices"]) {
    result += fmt::format("device      {}", text(device["name"]));
    if (device.contains("processor")) {
      result += fmt::format(": {}, {} cores", text(device["processor"]), device["cores"].get<int>());
    }
    result += "\n";
  }
  result += cuda_as_text(info);
  const nlohmann::ordered_json& mpi = info["mpi"];
  result += fmt::format("MPI         {}\n",
                        mpi["hint"].is_null() ? text(mpi["version"]) : "not built: " + text(mpi["hint"]));
  result += fmt::format("SIMD        {}, {} floats\n", text(info["simd"]["level"]),
                        info["simd"]["float_lanes"].get<int>());
  result += fmt::format("threads     {}\n", info["threads"].get<int>());
  const nlohmann::ordered_json& configurations = info["configurations"];
  const auto ready = configurations["names"].get<std::vector<std::string>>();
  result += fmt::format("ready       {} ({})\n",
                        ready.empty() ? "no configurations found" : fmt::format("{}", fmt::join(ready, ", ")),
                        text(configurations["folder"]));
  std::vector<std::string> names;
  for (const auto& [name, version] : info["libraries"].items()) names.push_back(name + " " + text(version));
  return result + fmt::format("libraries   {}\n", fmt::join(names, ", "));
}

void info(const InfoOptions& options) {
  use_threads(options.common.threads.value_or(0));
  use_device(options.common);
  if (options.config_keys) {
    Config defaults;
    print_text(describe_fields(core::fields_of(defaults)));
    return;
  }
  const nlohmann::ordered_json description = describe_build();
  if (options.common.json) return print_json(description);
  print_text(as_text(description));
}

}  // namespace

void add_info_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "info", "Show version, build, devices, SIMD level, ready configurations and libraries");
  const auto options = std::make_shared<InfoOptions>();
  add_common_options(*command, options->common);
  command->add_flag("--config-keys", options->config_keys,
                    "Print every key of a configuration in the form of docs/configuration.md");
  command->footer("Examples:\n  medfusion info --json\n  medfusion info --config-keys");
  command->callback([options, &action] { action = [options] { info(*options); }; });
}

}  // namespace medfusion::tools
