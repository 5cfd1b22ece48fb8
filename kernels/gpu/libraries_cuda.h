// What became of cuBLAS, cuDNN and NCCL in this process. Only in builds where nvcc was found.
#pragma once

#include <string>
#include <vector>

namespace medfusion::kernels::cuda {

struct LibraryState {
  // A place where it was looked for in vain.
  struct Attempt {
    std::string file;
    std::string reason;
  };

  std::string title;           // "cuBLAS"
  bool built_with = false;     // the header was found when the engine was built
  std::string header_version;  // "13.1.0"; empty without the header
  std::string path;            // of the file that is open; empty: none
  std::string version;         // of that file
  std::vector<Attempt> tried;  // before it was found, or in all
  std::string remedy;          // what brings it to this machine, or to this build
};

// cuBLAS, cuDNN and NCCL; opens each where that has not happened yet.
std::vector<LibraryState> library_states();

}  // namespace medfusion::kernels::cuda
