#include <gmock/gmock.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "core/allocator.h"
#include "kernels/convolution/first_that_runs.h"
#include "kernels/gpu/library_call.cuh"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(convolution)
MEDFUSION_KERNEL_TESTS_IN_BF16(convolution, "", "simt", "cudnn")

namespace medfusion::kernels {
namespace {

// Their descriptors do not speak of addresses: what they are given is aligned, whatever the dtype.
TEST(Convolution, LibrariesGetOperandsAtMultiplesOf16Bytes) {
  const core::Device sim{simulator::kDeviceType, 0};
  for (const core::DType dtype : {core::DType::f32, core::DType::bf16}) {
    const core::Tensor whole = core::Tensor::zeros({17}, dtype, sim);
    const core::Tensor misaligned = whole.slice(0, 1, 17), aligned = whole.slice(0, 0, 16);
    const cuda::Packed copied(misaligned.view()), kept(aligned.view());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(copied.view().data) % 16, 0U) << core::name_of(dtype);
    EXPECT_NE(copied.view().data, misaligned.view().data) << core::name_of(dtype);
    EXPECT_EQ(kept.view().data, aligned.view().data) << core::name_of(dtype);
  }
}

using testing::ElementsAre;

// A library of algorithms 0, 1, 2, ... and what is asked of it.
struct Library {
  std::vector<convolution::Ranked<int>> ranking;
  std::vector<int> fallbacks;
  std::vector<int> supported;  // what does not answer NOT_SUPPORTED when it runs
  std::vector<std::optional<size_t>> workspaces = std::vector<std::optional<size_t>>(8, size_t{0});
  std::vector<int> tried = {};

  std::optional<convolution::Choice<int>> choose() {
    return convolution::first_that_runs(
        ranking, fallbacks, 100, [&](int algorithm) { return workspaces.at(static_cast<size_t>(algorithm)); },
        [&](const convolution::Choice<int>& choice) {
          tried.push_back(choice.algorithm);
          return std::find(supported.begin(), supported.end(), choice.algorithm) != supported.end();
        });
  }
};

TEST(ConvolutionChoice, TakesTheBestThatRuns) {
  Library library{.ranking = {{3, true}, {1, true}}, .fallbacks = {5}, .supported = {1, 3, 5}};
  library.workspaces[3] = 100;
  const auto choice = library.choose();
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 3);
  EXPECT_EQ(choice->workspace, 100U);
  EXPECT_THAT(library.tried, ElementsAre(3));
}

TEST(ConvolutionChoice, GoesOnWhereTheBestIsNotSupported) {
  Library library{.ranking = {{3, true}, {1, true}}, .fallbacks = {5}, .supported = {1, 5}};
  library.workspaces[3] = 7;
  library.workspaces[1] = 9;
  const auto choice = library.choose();
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 1);
  EXPECT_EQ(choice->workspace, 9U);
  EXPECT_THAT(library.tried, ElementsAre(3, 1));
}

TEST(ConvolutionChoice, SkipsWhatIsNotDeterministic) {
  Library library{.ranking = {{3, false}, {1, true}}, .fallbacks = {}, .supported = {1, 3}};
  const auto choice = library.choose();
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 1);
  EXPECT_THAT(library.tried, ElementsAre(1));
}

TEST(ConvolutionChoice, SkipsAWorkspaceThatIsTooLargeOrNotKnown) {
  Library library{.ranking = {{3, true}, {2, true}, {1, true}}, .fallbacks = {}, .supported = {1, 2, 3}};
  library.workspaces[3] = 101;
  library.workspaces[2] = std::nullopt;
  const auto choice = library.choose();
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 1);
  EXPECT_THAT(library.tried, ElementsAre(1));
}

TEST(ConvolutionChoice, TakesFallbacksInOrderAndTriesNothingTwice) {
  Library library{.ranking = {{3, true}, {4, false}}, .fallbacks = {3, 5, 6}, .supported = {6}};
  const auto choice = library.choose();
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 6);
  EXPECT_THAT(library.tried, ElementsAre(3, 5, 6));
}

TEST(ConvolutionChoice, FindsNothingWhereNoneRuns) {
  Library library{.ranking = {{3, true}}, .fallbacks = {5}, .supported = {}};
  EXPECT_FALSE(library.choose());
  EXPECT_THAT(library.tried, ElementsAre(3, 5));
}

TEST(ConvolutionChoice, WantOfMemoryRefusesAnAlgorithmAndOtherErrorsPass) {
  const auto choose = [](const auto& runs) {
    return convolution::first_that_runs(
        std::vector<convolution::Ranked<int>>{{3, true}, {1, true}}, std::vector<int>{}, 100,
        [](int) { return std::optional<size_t>(1); }, runs);
  };
  const auto choice = choose([](const convolution::Choice<int>& c) {
    if (c.algorithm == 3) throw core::OutOfMemory("no room for the workspace");
    return true;
  });
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->algorithm, 1);
  EXPECT_THROW(
      choose([](const convolution::Choice<int>&) -> bool { throw core::Error("the device is lost"); }),
      core::Error);
}

// What algorithms are tried on: zeros, not of the caching allocator, whose pools belong to captured graphs.
TEST(ConvolutionChoice, ScratchMemoryIsZeroAndComesFromTheRuntime) {
  constexpr core::Device kSmall{simulator::kDeviceType, 5};
  core::Runtime& runtime = core::runtime(kSmall);
  const core::Stream stream = core::current_stream(kSmall);
  const int64_t requests = core::allocator(kSmall).counters().requests;
  std::vector<uint8_t> bytes(100, 1);
  {
    const convolution::Scratch scratch(kSmall, stream, 100), nothing(kSmall, stream, 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(scratch.data()) % 16, 0U);
    EXPECT_EQ(nothing.data(), nullptr);
    runtime.copy_to_host(bytes.data(), scratch.data(), 100, stream);
    runtime.synchronize(stream);
  }
  EXPECT_THAT(bytes, testing::Each(0));
  EXPECT_EQ(core::allocator(kSmall).counters().requests, requests);
  runtime.synchronize(stream);
  simulator::set_sim_memory_limit(kSmall.index, 100);
  EXPECT_THROW(convolution::Scratch(kSmall, stream, 101), core::OutOfMemory);
  EXPECT_NO_THROW(convolution::Scratch(kSmall, stream, 100));  // the first was given back
  runtime.synchronize(stream);
  simulator::set_sim_memory_limit(kSmall.index, 0);
}

}  // namespace
}  // namespace medfusion::kernels
