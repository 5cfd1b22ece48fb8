// A kernel that waits for a barrier nobody completes. watchdog_test.sh compiles it with MEDFUSION_WATCHDOG,
// and runs it where there is a GPU: it ends with 0 if the wait has ended the kernel.
#include <cstdio>

#include "kernels/gpu/hopper.cuh"

namespace {

using namespace medfusion::kernels::cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device
                                           // code

// A helper passes on the place of its caller, as those of kernels do.
__device__ __forceinline__ void wait_in_helper(Shared<uint64_t> barrier, Site site = Site::current()) {
  mbarrier_wait(barrier, 0, 0, site);
}

__global__ void wait_for_nobody() {
  SharedMemory memory;
  const auto barrier = memory.take<uint64_t>(1, 8);
  if (threadIdx.x == 0) mbarrier_init(barrier, 0, 1);
  __syncthreads();
  wait_in_helper(barrier);  // the wait
}

}  // namespace

int main() {
  wait_for_nobody<<<1, kWarp, sizeof(uint64_t)>>>();
  cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  std::printf("%s\n", cudaGetErrorName(status));
  return status == cudaErrorAssert ? 0 : 1;
}
