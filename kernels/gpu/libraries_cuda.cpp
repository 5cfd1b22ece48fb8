// cuBLAS, cuDNN and NCCL, opened when first called. The engine is not linked to them, so that the program
// starts where they are not installed, on a machine without a GPU for one; nor are they in a module of their
// own, which would need a CUDA runtime apart from the engine's. Instead each function of theirs that kernels
// call is defined here, hidden from everybody else: it opens the library, finds the function and forwards to
// it. A function that is missing here does not link; it needs one line below.
#include "kernels/gpu/libraries_cuda.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <link.h>
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#define MEDFUSION_HAS_CUBLAS
#endif
#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define MEDFUSION_HAS_CUDNN
#endif
#if __has_include(<nccl.h>)
#include <nccl.h>
#if NCCL_VERSION_CODE >= 21300  // the first with ncclGetLastError
#define MEDFUSION_HAS_NCCL
#endif
#endif

#include <string>
#include <tuple>

#include "core/error.h"
#include "kernels/gpu/library_places.h"

// Told by the build: a folder of cuDNN, and the wheels that the headers came from.
#ifndef MEDFUSION_CUDNN_DIR
#define MEDFUSION_CUDNN_DIR ""
#endif
#ifndef MEDFUSION_CUBLAS_WHEEL
#define MEDFUSION_CUBLAS_WHEEL ""
#endif
#ifndef MEDFUSION_CUDNN_WHEEL
#define MEDFUSION_CUDNN_WHEEL ""
#endif
#ifndef MEDFUSION_NCCL_WHEEL
#define MEDFUSION_NCCL_WHEEL ""
#endif

namespace {

using medfusion::core::Error;
using medfusion::kernels::cuda::LibraryPlace;
using medfusion::kernels::cuda::LibraryState;
using medfusion::kernels::cuda::SoughtLibrary;

constexpr int kCudaMajor = CUDART_VERSION / 1000;

[[maybe_unused]] std::string version_text(int a, int b, int c) { return fmt::format("{}.{}.{}", a, b, c); }

// The reason that dlopen gives; it repeats the place.
std::string loader_reason(const std::string& file) {
  const std::string reason = ::dlerror();
  return reason.starts_with(file + ": ") ? reason.substr(file.size() + 2) : reason;
}

class Library {
 public:
  // Sets the version; returns why the open library does not fit, or nothing.
  using Check = std::string (*)(void* handle, LibraryState& state);

  Library(const char* title, const std::string& header_version, const SoughtLibrary& sought, Check check) {
    state_.title = title;
    state_.built_with = true;
    state_.header_version = header_version;
    state_.remedy = library_remedy(sought);
    for (const LibraryPlace& place : library_places(sought)) {
      std::string reason = place.unfit;
      if (reason.empty()) reason = open(place.file, check);
      if (reason.empty()) return;
      state_.tried.push_back({place.file, reason});
      if (unfit_) return;
    }
  }

  void* find(const char* function) const {
    if (handle_ == nullptr) {
      throw Error(fmt::format(
          "{} is called for {} but cannot be loaded: {}: {} (one of {} places, which `medfusion info --json` "
          "lists); {}",
          state_.title, function, state_.tried.front().file, state_.tried.front().reason, state_.tried.size(),
          state_.remedy));
    }
    void* const found = ::dlsym(handle_, function);
    if (found == nullptr) throw Error(fmt::format("{} has no function {}", state_.path, function));
    return found;
  }
  const LibraryState& state() const { return state_; }

 private:
  // Why the file is not taken; nothing where it is.
  std::string open(const std::string& file, Check check) {
    void* const handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return loader_reason(file);
    link_map* map = nullptr;
    state_.path = ::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : file;
    const std::string reason = check(handle, state_);
    if (reason.empty()) {
      handle_ = handle;
      return {};
    }
    ::dlclose(handle);
    state_.path.clear();
    if (state_.version.empty()) return reason;
    state_.version.clear();
    unfit_ = true;  // parts of it have stayed, and would be taken for parts of the next
    return reason + "; no further place is tried, since parts of it stay loaded";
  }

  LibraryState state_;
  void* handle_ = nullptr;  // kept open to the end of the process
  bool unfit_ = false;
};

// Asks the library for its version by a function such as cublasGetProperty and holds it against the header's.
template <class Property>
std::string check_version(void* handle, const char* function, int header_major, LibraryState& state) {
  const auto property = reinterpret_cast<Property>(::dlsym(handle, function));
  if (property == nullptr) return fmt::format("has no function {}", function);
  int major = 0, minor = 0, patch = 0;
  property(MAJOR_VERSION, &major);
  property(MINOR_VERSION, &minor);
  property(PATCH_LEVEL, &patch);
  state.version = version_text(major, minor, patch);
  if (major == header_major) return {};
  return fmt::format("is version {}, this program was built with the header of {}", state.version,
                     state.header_version);
}

#ifdef MEDFUSION_HAS_CUBLAS
const Library& cublas() {
  static const Library library("cuBLAS", version_text(CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR, CUBLAS_VER_PATCH),
                               {"cublas", CUBLAS_VER_MAJOR, kCudaMajor, "", MEDFUSION_CUBLAS_WHEEL},
                               [](void* handle, LibraryState& state) {
                                 return check_version<decltype(&cublasGetProperty)>(
                                     handle, "cublasGetProperty", CUBLAS_VER_MAJOR, state);
                               });
  return library;
}
#endif
#ifdef MEDFUSION_HAS_CUDNN
// cuDNN ends the process where it is asked anything and finds its parts nowhere.
std::string check_parts([[maybe_unused]] const std::string& path) {
#if CUDNN_MAJOR >= 9
  const std::string part = fmt::format("libcudnn_graph.so.{}", CUDNN_MAJOR);
  const std::string beside = path.substr(0, path.rfind('/') + 1) + part;
  for (const std::string& file : {beside, part}) {
    if (::dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr) return {};
  }
  return fmt::format("its part {} cannot be loaded: {}", part, loader_reason(part));
#else
  return {};
#endif
}

std::string check_cudnn(void* handle, LibraryState& state) {
  std::string reason = check_parts(state.path);
  if (reason.empty()) {
    reason = check_version<decltype(&cudnnGetProperty)>(handle, "cudnnGetProperty", CUDNN_MAJOR, state);
  }
  if (!reason.empty()) return reason;
  const auto cuda =
      reinterpret_cast<decltype(&cudnnGetCudartVersion)>(::dlsym(handle, "cudnnGetCudartVersion"));
  if (cuda == nullptr) return "has no function cudnnGetCudartVersion";
  const size_t cuda_major = cuda() / 1000;
  if (cuda_major == kCudaMajor) return {};
  return fmt::format("is made for CUDA {}, this program for {}", cuda_major, kCudaMajor);
}

// cuDNN multiplies by cuBLAS's libcublasLt, and takes the one that is loaded already, whose path it may not
// share. So cuBLAS goes first: then libcublas has the libcublasLt of its own release, and cuDNN one of its
// CUDA.
const Library& cudnn() {
#ifdef MEDFUSION_HAS_CUBLAS
  cublas();
#endif
  static const Library library("cuDNN", version_text(CUDNN_MAJOR, CUDNN_MINOR, CUDNN_PATCHLEVEL),
                               {"cudnn", CUDNN_MAJOR, kCudaMajor, MEDFUSION_CUDNN_DIR, MEDFUSION_CUDNN_WHEEL},
                               check_cudnn);
  return library;
}
#endif

#ifdef MEDFUSION_HAS_NCCL
std::string check_nccl(void* handle, LibraryState& state) {
  const auto ask = reinterpret_cast<decltype(&ncclGetVersion)>(::dlsym(handle, "ncclGetVersion"));
  if (ask == nullptr) return "has no function ncclGetVersion";
  int version = 0;  // 22809 for 2.28.9
  ask(&version);
  state.version = version_text(version / 10000, version / 100 % 100, version % 100);
  if (version / 10000 == NCCL_MAJOR) return {};
  return fmt::format("is version {}, this program was built with the header of {}", state.version,
                     state.header_version);
}

const Library& nccl() {
  static const Library library("NCCL", version_text(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH),
                               {"nccl", NCCL_MAJOR, kCudaMajor, "", MEDFUSION_NCCL_WHEEL}, check_nccl);
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
#define PARAMETERS_0(f)
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
#define ARGUMENTS_0
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
#ifdef MEDFUSION_HAS_NCCL
FORWARD(nccl, ncclGetErrorString, 1)
FORWARD(nccl, ncclGetLastError, 1)
FORWARD(nccl, ncclGetUniqueId, 1)
FORWARD(nccl, ncclCommInitRank, 4)
FORWARD(nccl, ncclCommGetAsyncError, 2)
FORWARD(nccl, ncclCommDestroy, 1)
FORWARD(nccl, ncclGroupStart, 0)
FORWARD(nccl, ncclGroupEnd, 0)
FORWARD(nccl, ncclSend, 6)
FORWARD(nccl, ncclRecv, 6)
FORWARD(nccl, ncclAllGather, 6)
#endif

namespace medfusion::kernels::cuda {
namespace {

// A library whose header the build did not find.
[[maybe_unused]] LibraryState left_out(const char* title, const SoughtLibrary& sought) {
  LibraryState state;
  state.title = title;
  state.remedy = header_remedy(sought);
  return state;
}

}  // namespace

std::vector<LibraryState> library_states() {
  return {
#ifdef MEDFUSION_HAS_CUBLAS
      ::cublas().state(),
#else
      left_out("cuBLAS", {"cublas", kCudaMajor, kCudaMajor, "", ""}),
#endif
#ifdef MEDFUSION_HAS_CUDNN
      ::cudnn().state(),
#else
      left_out("cuDNN", {"cudnn", 9, kCudaMajor, "", ""}),
#endif
#ifdef MEDFUSION_HAS_NCCL
      ::nccl().state(),
#else
      left_out("NCCL", {"nccl", 2, kCudaMajor, "", ""}),
#endif
  };
}

}  // namespace medfusion::kernels::cuda
