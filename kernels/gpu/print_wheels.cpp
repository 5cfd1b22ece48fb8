// Prints the folders of headers beside the places of cuBLAS, cuDNN and NCCL, as a list of CMake; the argument
// is the major version of CUDA. CMakeLists.txt runs it.
#include <fmt/format.h>

#include "kernels/gpu/library_places.h"

int main(int, char** arguments) {
  const int cuda_major = std::atoi(arguments[1]);
  for (const char* name : {"cublas", "cudnn", "nccl"}) {
    for (const auto& [file, unfit] :
         medfusion::kernels::cuda::library_places({name, 0, cuda_major, "", ""})) {
      const auto headers = std::filesystem::path(file).parent_path().parent_path() / "include";
      if (unfit.empty() && headers.is_absolute()) fmt::print("{};", headers.string());
    }
  }
}
