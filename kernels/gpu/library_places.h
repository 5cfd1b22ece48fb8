// Where cuBLAS, cuDNN and NCCL may lie: in the toolkit, in the system's folders, beside Python's wheels.
// Needs no CUDA.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace medfusion::kernels::cuda {

struct SoughtLibrary {
  std::string name;    // "cublas", "cudnn" or "nccl"
  int major = 0;       // libNAME.so.MAJOR
  int cuda_major = 0;  // of the CUDA that it must be made for
  std::string named;   // the folder (with a lib/) that the build was told of, or empty
  std::string wheel;   // the folder of the wheel from which the build took the header, or empty
};

struct LibraryPlace {
  std::string file;   // what to open: a path, or a name that the loader looks up
  std::string unfit;  // why it must not be opened; empty: nothing is known against it
};

// Asks for a variable of the environment; null where it is not set.
using Variables = std::function<const char*(const char*)>;

// The places of the library, the best first:
// 1. the folder of MEDFUSION_NAME_DIR, or the one that the build was told of;
// 2. the loader's own, $CUDA_HOME/lib64 and /usr/local/cuda/lib64: they are the same whatever environment of
//    Python is active, so that activating one changes no result;
// 3. the wheel that the build took the header from, and the wheels in python_packages().
// A wheel of cuDNN or NCCL for another CUDA has the same file name; it is unfit, by the name of its package.
// It must not even be opened, since parts of it would stay in the process.
std::vector<LibraryPlace> library_places(const SoughtLibrary& library,
                                         const Variables& variable = std::getenv);

// The folders (site-packages, dist-packages) of Python's packages: of $VIRTUAL_ENV, of the first `python3` in
// the PATH that lies in an environment or links to one, and of $HOME/.local. Python is not run. Where an
// environment has several Pythons, the newest comes first. Folders that do not exist are left out.
std::vector<std::filesystem::path> python_packages(const Variables& variable = std::getenv);

// What brings the library to a machine, and what its header to a build: "install NVIDIA's package ...".
std::string library_remedy(const SoughtLibrary& library);
std::string header_remedy(const SoughtLibrary& library);

}  // namespace medfusion::kernels::cuda
