// What every asynchronous device promises, asked of `sim` always and of `cuda` where there is a GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::core {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

// Why the device cannot be used; empty where it can.
std::string refusal(Device device) {
  try {
    runtime(device);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(CudaRuntime, SaysInOneLineWhyItIsNotThere) {
  const std::string first = refusal({kernels::cuda::kDeviceType, 0});
  if (!first.empty()) {
    EXPECT_THAT(first, StartsWith("device cuda:0 is not available"));
    EXPECT_THAT(first,
                AnyOf(HasSubstr("in this build"), HasSubstr("no NVIDIA driver"), HasSubstr("sees no GPU")));
    EXPECT_EQ(first.find('\n'), std::string::npos);
    EXPECT_EQ(refusal({kernels::cuda::kDeviceType, 0}), first);  // asked again, it says the same
  }
  EXPECT_THAT(refusal({kernels::cuda::kDeviceType, kMaxDevices - 1}), StartsWith("device cuda:15 "));
  EXPECT_THAT(refusal({kernels::cuda::kDeviceType, kMaxDevices}), HasSubstr("device cuda:16 does not exist"));
}

class DeviceRuntime : public testing::TestWithParam<DeviceType> {
 protected:
  void SetUp() override {
    const std::string why = refusal(device_);
    if (!why.empty()) GTEST_SKIP() << "NOT TESTED: " << why;
    runtime_ = &runtime(device_);
    stream_ = runtime_->create_stream();
  }
  void TearDown() override {
    if (runtime_ != nullptr) runtime_->destroy_stream(stream_);
  }

  std::vector<uint8_t> read(const void* from, int64_t bytes) {
    std::vector<uint8_t> host(static_cast<size_t>(bytes), 0xEE);
    runtime_->copy_to_host(host.data(), from, bytes, stream_);
    runtime_->synchronize(stream_);
    return host;
  }

  const Device device_{GetParam(), 0};
  Runtime* runtime_ = nullptr;
  Stream stream_;
};

std::vector<uint8_t> pattern(int64_t bytes) {
  std::vector<uint8_t> result(static_cast<size_t>(bytes));
  for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<uint8_t>(i * 31 + i / 251);
  return result;
}

TEST_P(DeviceRuntime, BytesComeBackFromOrdinaryAndPinnedMemory) {
  // The largest takes more than all staging buffers together.
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4097}, (int64_t{17} << 20) + 3}) {
    SCOPED_TRACE(bytes);
    const std::vector<uint8_t> sent = pattern(bytes);
    void* const memory = runtime_->allocate(std::max<int64_t>(bytes, 1), stream_);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0U);
    runtime_->copy_to_device(memory, sent.data(), bytes, stream_);
    EXPECT_TRUE(read(memory, bytes) == sent);

    auto* const pinned = static_cast<uint8_t*>(runtime_->allocate_pinned(std::max<int64_t>(bytes, 1)));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pinned) % 64, 0U);
    runtime_->fill_bytes(memory, 0, bytes, stream_);
    if (bytes > 0) std::memcpy(pinned, sent.data(), sent.size());
    runtime_->copy_to_device(memory, pinned, bytes, stream_);
    runtime_->synchronize(stream_);
    if (bytes > 0) std::memset(pinned, 0, sent.size());
    runtime_->copy_to_host(pinned, memory, bytes, stream_);
    runtime_->synchronize(stream_);
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), pinned));
    runtime_->free_pinned(pinned);
    runtime_->free(memory, std::max<int64_t>(bytes, 1), stream_);
    runtime_->synchronize(stream_);
  }
  EXPECT_EQ(runtime_->allocate_pinned(0), nullptr);
  runtime_->free_pinned(nullptr);
}

TEST_P(DeviceRuntime, AStreamWaitsForTheEventOfAnother) {
  constexpr int64_t kBytes = int64_t{8} << 20;
  const Stream other = runtime_->create_stream();
  const Event filled = runtime_->create_event();
  void* const from = runtime_->allocate(kBytes, stream_);
  void* const to = runtime_->allocate(kBytes, stream_);
  for (int round = 0; round < 4; ++round) {
    const Event copied = runtime_->create_event();
    for (int again = 0; again < 8; ++again) {
      runtime_->fill_bytes(from, static_cast<uint8_t>(16 * round + again), kBytes, stream_);
    }
    runtime_->record(filled, stream_);
    runtime_->wait(other, filled);
    runtime_->copy_on_device(to, from, kBytes, other);
    runtime_->record(copied, other);
    runtime_->wait(stream_, copied);
    const std::vector<uint8_t> got = read(to, kBytes);
    EXPECT_EQ(got.front(), 16 * round + 7);
    EXPECT_TRUE(std::all_of(got.begin(), got.end(), [&](uint8_t byte) { return byte == got.front(); }));
    runtime_->destroy_event(copied);
  }
  runtime_->free(from, kBytes, stream_);
  runtime_->free(to, kBytes, stream_);
  runtime_->synchronize(stream_);
  runtime_->destroy_event(filled);
  runtime_->destroy_stream(other);
}

TEST_P(DeviceRuntime, AGraphRepeatsWhatWasCaptured) {
  constexpr int64_t kBytes = 1000;
  void* const memory = runtime_->allocate(kBytes, stream_);
  runtime_->fill_bytes(memory, 1, kBytes, stream_);
  runtime_->begin_capture(stream_);
  runtime_->fill_bytes(memory, 2, kBytes, stream_);
  const Graph graph = runtime_->end_capture(stream_);
  EXPECT_EQ(read(memory, kBytes).back(), 1);  // recorded, not run
  runtime_->replay(graph, stream_);
  EXPECT_EQ(read(memory, kBytes).back(), 2);
  runtime_->fill_bytes(memory, 3, kBytes, stream_);
  runtime_->replay(graph, stream_);
  EXPECT_EQ(read(memory, kBytes).back(), 2);
  runtime_->destroy_graph(graph);
  EXPECT_THROW(runtime_->replay(graph, stream_), Error);
  runtime_->free(memory, kBytes, stream_);
  runtime_->synchronize(stream_);
}

TEST_P(DeviceRuntime, WhatACaptureForbidsIsAnErrorAndTheStreamGoesOn) {
  void* const memory = runtime_->allocate(64, stream_);
  uint8_t host[64] = {};
  runtime_->begin_capture(stream_);
  EXPECT_THROW(runtime_->synchronize(stream_), Error);
  EXPECT_THROW(runtime_->copy_to_host(host, memory, 64, stream_), Error);
  EXPECT_THROW(runtime_->copy_to_device(memory, host, 64, stream_), Error);
  EXPECT_THROW(runtime_->allocate(64, stream_), Error);
  EXPECT_THROW(runtime_->begin_capture(stream_), Error);
  try {
    runtime_->destroy_graph(runtime_->end_capture(stream_));
  } catch (const Error&) {  // a forbidden call may break the capture off
  }
  EXPECT_THROW(runtime_->end_capture(stream_), Error);
  runtime_->begin_capture(stream_);
  runtime_->fill_bytes(memory, 5, 64, stream_);
  const Graph graph = runtime_->end_capture(stream_);
  runtime_->replay(graph, stream_);
  EXPECT_EQ(read(memory, 64).back(), 5);
  runtime_->destroy_graph(graph);
  runtime_->free(memory, 64, stream_);
  runtime_->synchronize(stream_);
}

TEST_P(DeviceRuntime, OutOfMemorySaysHowMuchWasAsked) {
  constexpr int64_t kTooMuch = int64_t{1} << 50;
  try {
    runtime_->allocate(kTooMuch, stream_);
    FAIL() << "no device has that much";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), StartsWith(std::string(name_of(GetParam())) + ":0: out of memory"));
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(kTooMuch) + " bytes asked"));
  }
  void* const memory = runtime_->allocate(64, stream_);  // and the device goes on
  runtime_->free(memory, 64, stream_);
  runtime_->synchronize(stream_);
}

TEST_P(DeviceRuntime, HandlesThatDoNotExistAreRefused) {
  EXPECT_THROW(runtime_->synchronize(Stream{987654}), Error);
  EXPECT_THROW(runtime_->record(Event{987654}, stream_), Error);
  EXPECT_THROW(runtime_->replay(Graph{987654}, stream_), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceRuntime,
                         testing::Values(simulator::kDeviceType, kernels::cuda::kDeviceType),
                         [](const auto& of) { return name_of(of.param); });

}  // namespace
}  // namespace medfusion::core
