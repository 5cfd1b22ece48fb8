// cuBLAS and cuDNN, opened when first called. The engine is not linked to them, so that the program starts
// where they are not installed, on a machine without a GPU for one; nor are they in a module of their own,
// which would need a CUDA runtime apart from the engine's. Instead each function of theirs that kernels call
// is defined here, hidden from everybody else: it opens the library, finds the function and forwards to it. A
// function that is missing here does not link; it needs one line below.
#include <dlfcn.h>
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#define MEDFUSION_HAS_CUBLAS
#endif
#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define MEDFUSION_HAS_CUDNN
#endif

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"

namespace {

using medfusion::core::Error;

class Library {
 public:
  // `folder`: named by the environment or the build, with a lib/ in it; may be null.
  Library(const char* title, const std::string& file, const char* folder) : title_(title) {
    std::vector<std::string> places;
    if (folder != nullptr) {
      places.push_back(std::string(folder) + "/lib/" + file);
      places.push_back(std::string(folder) + "/" + file);
    }
    places.push_back(file);
    if (const char* home = std::getenv("CUDA_HOME")) places.push_back(std::string(home) + "/lib64/" + file);
    places.push_back("/usr/local/cuda/lib64/" + file);
    for (const std::string& place : places) {
      handle_ = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return;
      if (reason_.empty()) reason_ = ::dlerror();
    }
  }

  void* find(const char* function) const {
    if (handle_ == nullptr) {
      throw Error(fmt::format("{} is called for {} but cannot be loaded: {}", title_, function, reason_));
    }
    void* const found = ::dlsym(handle_, function);
    if (found == nullptr) throw Error(fmt::format("{} has no function {}", title_, function));
    return found;
  }

 private:
  const char* title_;
  void* handle_ = nullptr;  // kept open to the end of the process
  std::string reason_;
};

#ifdef MEDFUSION_HAS_CUBLAS
const Library& cublas() {
  static const Library library("cuBLAS", fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR),
                               std::getenv("MEDFUSION_CUBLAS_DIR"));
  return library;
}
#endif
#ifdef MEDFUSION_HAS_CUDNN
// Where Python's wheels put it, for one: MEDFUSION_CUDNN_DIR=.../site-packages/nvidia/cudnn.
const char* cudnn_folder() {
  if (const char* folder = std::getenv("MEDFUSION_CUDNN_DIR")) return folder;
#ifdef MEDFUSION_CUDNN_DIR
  return MEDFUSION_CUDNN_DIR;
#else
  return nullptr;
#endif
}
const Library& cudnn() {
  static const Library library("cuDNN", fmt::format("libcudnn.so.{}", CUDNN_MAJOR), cudnn_folder());
  return library;
}
#endif

template <class F>
struct Signature;
template <class R, class... A>
struct Signature<R(A...)> {
  using Result = R;
  using Arguments = std::tuple<A...>;
};

}  // namespace

// FORWARD(library, function, number of parameters); their types are those of the library's header.
// clang-format off
#define PARAMETER(f, i) std::tuple_element_t<i, Signature<decltype(f)>::Arguments> a##i
#define PARAMETERS_1(f) PARAMETER(f, 0)
#define PARAMETERS_2(f) PARAMETERS_1(f), PARAMETER(f, 1)
#define PARAMETERS_3(f) PARAMETERS_2(f), PARAMETER(f, 2)
#define PARAMETERS_4(f) PARAMETERS_3(f), PARAMETER(f, 3)
#define PARAMETERS_5(f) PARAMETERS_4(f), PARAMETER(f, 4)
#define PARAMETERS_6(f) PARAMETERS_5(f), PARAMETER(f, 5)
#define PARAMETERS_7(f) PARAMETERS_6(f), PARAMETER(f, 6)
#define PARAMETERS_8(f) PARAMETERS_7(f), PARAMETER(f, 7)
#define PARAMETERS_9(f) PARAMETERS_8(f), PARAMETER(f, 8)
#define PARAMETERS_10(f) PARAMETERS_9(f), PARAMETER(f, 9)
#define PARAMETERS_11(f) PARAMETERS_10(f), PARAMETER(f, 10)
#define PARAMETERS_12(f) PARAMETERS_11(f), PARAMETER(f, 11)
#define PARAMETERS_13(f) PARAMETERS_12(f), PARAMETER(f, 12)
#define PARAMETERS_14(f) PARAMETERS_13(f), PARAMETER(f, 13)
#define PARAMETERS_15(f) PARAMETERS_14(f), PARAMETER(f, 14)
#define PARAMETERS_16(f) PARAMETERS_15(f), PARAMETER(f, 15)
#define PARAMETERS_17(f) PARAMETERS_16(f), PARAMETER(f, 16)
#define PARAMETERS_18(f) PARAMETERS_17(f), PARAMETER(f, 17)
#define PARAMETERS_19(f) PARAMETERS_18(f), PARAMETER(f, 18)
#define PARAMETERS_20(f) PARAMETERS_19(f), PARAMETER(f, 19)
#define PARAMETERS_21(f) PARAMETERS_20(f), PARAMETER(f, 20)
#define PARAMETERS_22(f) PARAMETERS_21(f), PARAMETER(f, 21)
#define PARAMETERS_23(f) PARAMETERS_22(f), PARAMETER(f, 22)
#define ARGUMENTS_1 a0
#define ARGUMENTS_2 ARGUMENTS_1, a1
#define ARGUMENTS_3 ARGUMENTS_2, a2
#define ARGUMENTS_4 ARGUMENTS_3, a3
#define ARGUMENTS_5 ARGUMENTS_4, a4
#define ARGUMENTS_6 ARGUMENTS_5, a5
#define ARGUMENTS_7 ARGUMENTS_6, a6
#define ARGUMENTS_8 ARGUMENTS_7, a7
#define ARGUMENTS_9 ARGUMENTS_8, a8
#define ARGUMENTS_10 ARGUMENTS_9, a9
#define ARGUMENTS_11 ARGUMENTS_10, a10
#define ARGUMENTS_12 ARGUMENTS_11, a11
#define ARGUMENTS_13 ARGUMENTS_12, a12
#define ARGUMENTS_14 ARGUMENTS_13, a13
#define ARGUMENTS_15 ARGUMENTS_14, a14
#define ARGUMENTS_16 ARGUMENTS_15, a15
#define ARGUMENTS_17 ARGUMENTS_16, a16
#define ARGUMENTS_18 ARGUMENTS_17, a17
#define ARGUMENTS_19 ARGUMENTS_18, a18
#define ARGUMENTS_20 ARGUMENTS_19, a19
#define ARGUMENTS_21 ARGUMENTS_20, a20
#define ARGUMENTS_22 ARGUMENTS_21, a21
#define ARGUMENTS_23 ARGUMENTS_22, a22
// clang-format on
#define FORWARD(library, function, count)                                                         \
  extern "C" [[gnu::visibility("hidden")]] Signature<decltype(function)>::Result function(        \
      PARAMETERS_##count(function)) {                                                             \
    static const auto forward = reinterpret_cast<decltype(&function)>(library().find(#function)); \
    return forward(ARGUMENTS_##count);                                                            \
  }

#ifdef MEDFUSION_HAS_CUBLAS
FORWARD(cublas, cublasGetStatusName, 1)
FORWARD(cublas, cublasGetStatusString, 1)
FORWARD(cublas, cublasCreate_v2, 1)
FORWARD(cublas, cublasDestroy_v2, 1)
FORWARD(cublas, cublasSetStream_v2, 2)
FORWARD(cublas, cublasSetWorkspace_v2, 3)
FORWARD(cublas, cublasSetMathMode, 2)
FORWARD(cublas, cublasSgemmStridedBatched_64, 18)
FORWARD(cublas, cublasGemmStridedBatchedEx_64, 23)
#endif
#ifdef MEDFUSION_HAS_CUDNN
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // the convolutions' plain interface
FORWARD(cudnn, cudnnGetErrorString, 1)
FORWARD(cudnn, cudnnGetLastErrorString, 2)
FORWARD(cudnn, cudnnCreate, 1)
FORWARD(cudnn, cudnnDestroy, 1)
FORWARD(cudnn, cudnnSetStream, 2)
FORWARD(cudnn, cudnnCreateTensorDescriptor, 1)
FORWARD(cudnn, cudnnDestroyTensorDescriptor, 1)
FORWARD(cudnn, cudnnSetTensor4dDescriptor, 7)
FORWARD(cudnn, cudnnSetTensor4dDescriptorEx, 10)
FORWARD(cudnn, cudnnCreateFilterDescriptor, 1)
FORWARD(cudnn, cudnnDestroyFilterDescriptor, 1)
FORWARD(cudnn, cudnnSetFilter4dDescriptor, 7)
FORWARD(cudnn, cudnnCreateConvolutionDescriptor, 1)
FORWARD(cudnn, cudnnDestroyConvolutionDescriptor, 1)
FORWARD(cudnn, cudnnSetConvolution2dDescriptor, 9)
FORWARD(cudnn, cudnnSetConvolutionMathType, 2)
FORWARD(cudnn, cudnnGetConvolutionForwardAlgorithm_v7, 8)
FORWARD(cudnn, cudnnGetConvolutionForwardWorkspaceSize, 7)
FORWARD(cudnn, cudnnConvolutionForward, 13)
FORWARD(cudnn, cudnnGetConvolutionBackwardDataAlgorithm_v7, 8)
FORWARD(cudnn, cudnnGetConvolutionBackwardDataWorkspaceSize, 7)
FORWARD(cudnn, cudnnConvolutionBackwardData, 13)
FORWARD(cudnn, cudnnGetConvolutionBackwardFilterAlgorithm_v7, 8)
FORWARD(cudnn, cudnnGetConvolutionBackwardFilterWorkspaceSize, 7)
FORWARD(cudnn, cudnnConvolutionBackwardFilter, 13)
#endif
