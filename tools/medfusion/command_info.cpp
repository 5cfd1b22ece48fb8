// medfusion info: what this build is, and what it runs on.
#include <fmt/format.h>
#include <hwy/base.h>
#include <hwy/highway.h>
#include <spdlog/version.h>
#include <toml++/toml.h>
#include <xxhash.h>
#include <zip.h>

#include <Eigen/Core>
#include <fstream>
#include <memory>
#include <thread>

#include "core/error.h"
#include "core/runtime.h"
#ifdef MEDFUSION_WITH_CUDA
#include "core/runtime_cuda.h"
#endif
#include "core/threads.h"
#include "kernels/simd_level.h"
#include "tools/medfusion/common.h"
#include "tools/medfusion/config_keys.h"

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

nlohmann::ordered_json devices() {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  list.push_back(
      {{"name", "cpu"}, {"processor", processor_name()}, {"cores", std::thread::hardware_concurrency()}});
#ifdef MEDFUSION_WITH_CUDA
  for (int i = 0; i < core::cuda_device_count(); ++i) {
    try {
      const core::CudaDeviceInfo& device = core::cuda_device_info(i);
      list.push_back({{"name", fmt::format("cuda:{}", i)},
                      {"processor", device.name},
                      {"cores", device.multiprocessors},
                      {"compute_capability", device.compute_capability},
                      {"memory_bytes", device.memory_bytes}});
    } catch (const core::Error&) {  // too old
    }
  }
#endif
  list.push_back({{"name", "sim"}});
  return list;
}

nlohmann::ordered_json libraries() {
  const auto triple = [](int a, int b, int c) { return fmt::format("{}.{}.{}", a, b, c); };
  const unsigned xxhash = XXH_versionNumber();
  return {
      {"CLI11", CLI11_VERSION},
#ifdef MEDFUSION_WITH_CUDA
      {"CUDA", core::cuda_runtime_version()},
#endif
      {"Eigen", triple(EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION)},
      {"fmt", triple(FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"Highway", triple(HWY_MAJOR, HWY_MINOR, HWY_PATCH)},
      {"libzip", zip_libzip_version()},
      {"nlohmann-json",
       triple(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"spdlog", triple(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"stb_image", MEDFUSION_STB_IMAGE_VERSION},
      {"toml++", triple(TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH)},
      {"xxHash", triple(static_cast<int>(xxhash / 10000), static_cast<int>(xxhash / 100 % 100),
                        static_cast<int>(xxhash % 100))},
  };
}

nlohmann::ordered_json describe_build() {
  return {
      {"version", MEDFUSION_VERSION},
      {"build_type", MEDFUSION_BUILD_TYPE},
      {"compiler", MEDFUSION_COMPILER},
      {"sanitizers", MEDFUSION_SANITIZE},
      {"devices", devices()},
      {"simd", {{"level", kernels::simd_level()}, {"float_lanes", kernels::simd_float_lanes()}}},
      {"threads", core::num_threads()},
      {"libraries", libraries()},
  };
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
  result += fmt::format("SIMD        {}, {} floats\n", text(info["simd"]["level"]),
                        info["simd"]["float_lanes"].get<int>());
  result += fmt::format("threads     {}\n", info["threads"].get<int>());
  std::string names;
  for (const auto& [name, version] : info["libraries"].items()) {
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", name, text(version));
  }
  return result + fmt::format("libraries   {}\n", names);
}

void info(const InfoOptions& options) {
  use_threads(options.common.threads.value_or(0));
  use_device(options.common);
  if (options.config_keys) return print_text(describe_keys());
  const nlohmann::ordered_json description = describe_build();
  if (options.common.json) return print_json(description);
  print_text(as_text(description));
}

}  // namespace

void add_info_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("info", "Show version, build, devices, SIMD level and libraries");
  const auto options = std::make_shared<InfoOptions>();
  add_common_options(*command, options->common);
  command->add_flag("--config-keys", options->config_keys,
                    "Print every key of a configuration, as docs/configuration.md has them");
  command->footer("Examples:\n  medfusion info --json\n  medfusion info --config-keys");
  command->callback([options, &action] { action = [options] { info(*options); }; });
}

}  // namespace medfusion::tools
