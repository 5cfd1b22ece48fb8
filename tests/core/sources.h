// The C++ and CUDA sources of the tree, for tests that read them.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace medfusion {

// Text by path from the root, of every top-level folder that may hold code; results and builds lie there,
// too.
inline const std::map<std::string, std::string>& sources() {
  static const auto all = [] {
    namespace fs = std::filesystem;
    std::map<std::string, std::string> result;
    const fs::path root = MEDFUSION_SOURCE_DIR;
    for (const auto& top : fs::directory_iterator(root)) {
      const std::string name = top.path().filename().string();
      if (!top.is_directory() || name.front() == '.' || name.starts_with("build") ||
          name == "gpu-dependencies")
        continue;
      for (const auto& entry : fs::recursive_directory_iterator(top)) {
        const std::string kind = entry.path().extension().string();
        if (kind != ".h" && kind != ".cpp" && kind != ".cu" && kind != ".cuh") continue;
        std::ifstream in(entry.path());
        result.emplace(fs::relative(entry.path(), root).string(),
                       std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()));
      }
    }
    return result;
  }();
  return all;
}

}  // namespace medfusion
