// One convolution by cuDNN: descriptors, a deterministic algorithm that has been tried, its workspace. Only
// for nvcc.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "kernels/convolution/first_that_runs.h"
#include "kernels/gpu/cudnn.cuh"
#include "kernels/gpu/library_call.cuh"

namespace medfusion::kernels::convolution {

enum class Direction : uint8_t { forward, data, filter };

// Contiguous, all f32 or all bf16: x [batch, height, width, in], filter [out, rows, columns, in], y [batch,
// height, width, out]. The direction says which of them is written: y, x or filter.
struct Problem {
  Direction direction;
  core::View x, filter, y;
  int64_t stride, padding;
  bool tf32;

  using Key = std::array<int64_t, 16>;
  Key key() const {
    const core::Shape &i = x.shape, &f = filter.shape, &o = y.shape;
    return {static_cast<int64_t>(direction),
            x.device.index,
            tf32 ? 1 : 0,
            stride,
            padding,
            i[0],
            i[1],
            i[2],
            i[3],
            f[0],
            f[1],
            f[2],
            o[1],
            o[2],
            static_cast<int64_t>(x.dtype),
            0};
  }
  // For errors.
  std::string str() const {
    constexpr const char* kResults[] = {"the result", "the gradient of the image",
                                        "the gradient of the weights"};
    return fmt::format("{} (images {} and {}, weights {} with channels last, stride {}, padding {}, {})",
                       kResults[static_cast<int>(direction)], x.shape.str(), y.shape.str(),
                       filter.shape.str(), stride, padding, core::name_of(x.dtype));
  }
  bool bf16() const { return x.dtype == core::DType::bf16; }
  cudnnDataType_t type() const { return bf16() ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }
  // Sums are f32 whatever it says.
  cudnnMathType_t math() const {
    if (bf16()) return CUDNN_TENSOR_OP_MATH;
    return tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
  }
};

// How cuDNN solves problems of one key. Its ranking goes by descriptors, and what it ranks may still answer
// that it is not supported: each candidate is run once, on memory of its own.
class CudnnPlan {
 public:
  // On a stream that is not captured, to which the handle is bound. Throws OutOfMemory where there is none
  // for copies of the operands, and Error where the device is lost.
  CudnnPlan(cudnnHandle_t handle, const Problem& p, core::Stream stream) {
    set_image(x_, p.type(), p.x.shape);
    set_image(y_, p.type(), p.y.shape);
    const core::Shape& f = p.filter.shape;
    cuda::check_cudnn(
        cudnnSetFilter4dDescriptor(filter_, p.type(), CUDNN_TENSOR_NHWC, static_cast<int>(f[0]),
                                   static_cast<int>(f[3]), static_cast<int>(f[1]), static_cast<int>(f[2])),
        "cudnnSetFilter4dDescriptor");
    const auto padding = static_cast<int>(p.padding);
    const auto stride = static_cast<int>(p.stride);
    cuda::check_cudnn(cudnnSetConvolution2dDescriptor(convolution_, padding, padding, stride, stride, 1, 1,
                                                      CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
                      "cudnnSetConvolution2dDescriptor");
    cuda::check_cudnn(cudnnSetConvolutionMathType(convolution_, p.math()), "cudnnSetConvolutionMathType");
    const Trial trial(*this, handle, p, stream);
    switch (p.direction) {
      case Direction::forward:
        choose_forward(handle, trial);
        break;
      case Direction::data:
        choose_data(handle, trial);
        break;
      case Direction::filter:
        choose_filter(handle, trial);
        break;
    }
  }

  bool found() const { return found_; }  // a deterministic algorithm that runs
  size_t workspace() const { return workspace_; }

  void run(cudnnHandle_t handle, const Problem& p, void* workspace, bool accumulate) const {
    constexpr const char* kCalls[] = {"cudnnConvolutionForward", "cudnnConvolutionBackwardData",
                                      "cudnnConvolutionBackwardFilter"};
    cuda::check_cudnn(call(handle, p, workspace, accumulate), kCalls[static_cast<int>(p.direction)]);
  }

 private:
  static constexpr size_t kMostWorkspace = size_t{1} << 30;

  cudnnStatus_t call(cudnnHandle_t handle, const Problem& p, void* workspace, bool accumulate) const {
    const float alpha = 1.0F, beta = accumulate ? 1.0F : 0.0F;
    switch (p.direction) {
      case Direction::forward:
        return cudnnConvolutionForward(handle, &alpha, x_, p.x.data, filter_, p.filter.data, convolution_,
                                       forward_, workspace, workspace_, &beta, y_, p.y.data);
      case Direction::data:
        return cudnnConvolutionBackwardData(handle, &alpha, filter_, p.filter.data, y_, p.y.data,
                                            convolution_, data_, workspace, workspace_, &beta, x_, p.x.data);
      case Direction::filter:
        return cudnnConvolutionBackwardFilter(handle, &alpha, x_, p.x.data, y_, p.y.data, convolution_,
                                              filter_algorithm_, workspace, workspace_, &beta, filter_,
                                              p.filter.data);
    }
    return CUDNN_STATUS_BAD_PARAM;
  }

  // Runs what the plan has chosen for now, on zeros in place of the operands.
  class Trial {
   public:
    Trial(const CudnnPlan& plan, cudnnHandle_t handle, const Problem& p, core::Stream stream)
        : plan_(plan),
          handle_(handle),
          problem_(p),
          stream_(stream),
          x_(device(), stream, bytes(p.x)),
          filter_(device(), stream, bytes(p.filter)),
          y_(device(), stream, bytes(p.y)) {
      problem_.x.data = x_.data();
      problem_.filter.data = filter_.data();
      problem_.y.data = y_.data();
    }
    // Whether cuDNN takes it. Throws Error where the device is lost, and OutOfMemory.
    bool runs() const {
      const Scratch workspace(device(), stream_, static_cast<int64_t>(plan_.workspace()));
      bool taken = true;
      for (const bool accumulate : {false, true}) {
        if (accumulate && problem_.direction != Direction::data) continue;  // nobody asks for it
        taken = taken && plan_.call(handle_, problem_, workspace.data(), accumulate) == CUDNN_STATUS_SUCCESS;
      }
      core::runtime(device()).synchronize(stream_);
      cudaGetLastError();  // of a launch that was refused: not the next one's
      return taken;
    }

   private:
    core::Device device() const { return problem_.x.device; }
    int64_t bytes(const core::View& v) const { return v.numel() * core::size_of(problem_.x.dtype); }

    const CudnnPlan& plan_;
    const cudnnHandle_t handle_;
    Problem problem_;
    const core::Stream stream_;
    const Scratch x_, filter_, y_;
  };

  static void set_image(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, const core::Shape& s) {
    cuda::check_cudnn(
        cudnnSetTensor4dDescriptor(descriptor, CUDNN_TENSOR_NHWC, type, static_cast<int>(s[0]),
                                   static_cast<int>(s[3]), static_cast<int>(s[1]), static_cast<int>(s[2])),
        "cudnnSetTensor4dDescriptor");
  }

  // The first deterministic algorithm of cuDNN's ranking, then of `others`, whose workspace is known and not
  // too large and that runs.
  template <class Performance, class Algorithm, class Rank, class Size>
  void choose(Algorithm& chosen, const std::vector<Algorithm>& others, const Trial& trial, const Rank& rank,
              const Size& size) {
    Performance ranking[8];
    int count = 0;
    if (rank(8, &count, ranking) != CUDNN_STATUS_SUCCESS) count = 0;
    std::vector<Ranked<Algorithm>> ranked;
    for (int i = 0; i < count; ++i) {
      ranked.push_back({ranking[i].algo, ranking[i].status == CUDNN_STATUS_SUCCESS &&
                                             ranking[i].determinism == CUDNN_DETERMINISTIC});
    }
    const auto workspace_of = [&](Algorithm algorithm) -> std::optional<size_t> {
      size_t bytes = 0;
      if (size(algorithm, &bytes) != CUDNN_STATUS_SUCCESS) return std::nullopt;
      return bytes;
    };
    const auto runs = [&](const Choice<Algorithm>& choice) {
      chosen = choice.algorithm;
      workspace_ = choice.workspace;
      return trial.runs();
    };
    found_ = first_that_runs(ranked, others, kMostWorkspace, workspace_of, runs).has_value();
  }

  void choose_forward(cudnnHandle_t handle, const Trial& trial) {
    choose<cudnnConvolutionFwdAlgoPerf_t, cudnnConvolutionFwdAlgo_t>(
        forward_,
        {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM}, trial,
        [&](int most, int* count, cudnnConvolutionFwdAlgoPerf_t* ranking) {
          return cudnnGetConvolutionForwardAlgorithm_v7(handle, x_, filter_, convolution_, y_, most, count,
                                                        ranking);
        },
        [&](cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
          return cudnnGetConvolutionForwardWorkspaceSize(handle, x_, filter_, convolution_, y_, algorithm,
                                                         bytes);
        });
  }
  void choose_data(cudnnHandle_t handle, const Trial& trial) {
    choose<cudnnConvolutionBwdDataAlgoPerf_t, cudnnConvolutionBwdDataAlgo_t>(
        data_, {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1}, trial,
        [&](int most, int* count, cudnnConvolutionBwdDataAlgoPerf_t* ranking) {
          return cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, filter_, y_, convolution_, x_, most,
                                                             count, ranking);
        },
        [&](cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
          return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, filter_, y_, convolution_, x_,
                                                              algorithm, bytes);
        });
  }
  void choose_filter(cudnnHandle_t handle, const Trial& trial) {
    choose<cudnnConvolutionBwdFilterAlgoPerf_t, cudnnConvolutionBwdFilterAlgo_t>(
        filter_algorithm_, {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1}, trial,
        [&](int most, int* count, cudnnConvolutionBwdFilterAlgoPerf_t* ranking) {
          return cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x_, y_, convolution_, filter_, most,
                                                               count, ranking);
        },
        [&](cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
          return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x_, y_, convolution_, filter_,
                                                                algorithm, bytes);
        });
  }

  cuda::CudnnTensor x_, y_;
  cuda::CudnnFilter filter_;
  cuda::CudnnConvolution convolution_;
  cudnnConvolutionFwdAlgo_t forward_ = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  cudnnConvolutionBwdDataAlgo_t data_ = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  cudnnConvolutionBwdFilterAlgo_t filter_algorithm_ = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
  size_t workspace_ = 0;
  bool found_ = false;
};

// How cuDNN solves a problem, and the handle to do it with on the current stream. Plans are kept to the end
// of the process.
struct PlannedCall {
  const CudnnPlan* plan = nullptr;
  cudnnHandle_t handle = nullptr;

  explicit PlannedCall(const Problem& p) {
    static std::mutex mutex;
    static auto& plans = *new std::map<Problem::Key, std::unique_ptr<CudnnPlan>>;
    const core::Device device = p.x.device;
    const core::Stream stream = core::current_stream(device);
    // Where the device is the current one.
    core::runtime(device).launch(stream, "convolution", {}, [&](void* native) {
      const std::lock_guard lock(mutex);
      handle = cuda::cudnn_handle(device, stream);
      auto& entry = plans[p.key()];
      if (entry == nullptr) {
        MEDFUSION_CHECK(!captured(native),
                        "convolution: {} must have run once before it is captured: cuDNN's algorithms are "
                        "tried when they are first needed, which a capture forbids",
                        p.str());
        cuda::bind_cudnn(handle, native);
        entry = std::make_unique<CudnnPlan>(handle, p, stream);
      }
      plan = entry.get();
    });
  }

 private:
  static bool captured(void* native) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaError_t asked = cudaStreamIsCapturing(static_cast<cudaStream_t>(native), &status);
    MEDFUSION_CHECK(asked == cudaSuccess, "cudaStreamIsCapturing: {}", cudaGetErrorString(asked));
    return status != cudaStreamCaptureStatusNone;
  }
};

// Whether it has a deterministic algorithm for the problem, and one that runs.
inline bool cudnn_solves(const Problem& p) { return PlannedCall(p).plan->found(); }

// Queues it on the current stream.
inline void run_cudnn(const Problem& p, bool accumulate) {
  const core::Device device = p.x.device;
  const PlannedCall call(p);
  MEDFUSION_CHECK(call.plan->found(), "convolution: cuDNN has no deterministic algorithm that runs for {}",
                  p.str());
  const core::Tensor workspace =
      core::Tensor::empty({static_cast<int64_t>(call.plan->workspace())}, core::DType::u8, device);
  cuda::library_call("convolution", device, {&p.x, &p.filter, &p.y}, {}, [&](void* native) {
    cuda::bind_cudnn(call.handle, native);
    call.plan->run(call.handle, p, workspace.view().data, accumulate);
  });
}

}  // namespace medfusion::kernels::convolution
