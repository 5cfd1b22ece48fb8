// What the tests of the simulated device share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/error.h"
#include "core/runtime.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/runtime.h"

namespace medfusion::simulator {

// The message of the Error that `call` throws; fails where it throws none.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const core::Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

// A simulated device of its own with two streams.
class SimRuntimeTest : public ::testing::Test {
 protected:
  SimRuntimeTest()
      : sim_(make_sim_runtime(0)), first_(sim_->create_stream()), second_(sim_->create_stream()) {
    set_sim_seed(1);
  }

  float* floats(int64_t count, core::Stream stream) {
    return static_cast<float*>(sim_->allocate(count * 4, stream));
  }
  // A launch that adds one to the first element.
  void add_one(float* data, core::Stream stream, const char* name = "add_one") {
    sim_->launch(stream, name, {{data, true}}, [data](void*) { *data += 1; });
  }
  // Later work of `later` runs after what `earlier` has queued.
  void order(core::Stream earlier, core::Stream later) {
    const core::Event event = sim_->create_event();
    sim_->record(event, earlier);
    sim_->wait(later, event);
    sim_->destroy_event(event);
  }
  float value_of(const float* data, core::Stream stream) {
    float value = 0;
    sim_->copy_to_host(&value, data, 4, stream);
    sim_->synchronize(stream);
    return value;
  }

  std::unique_ptr<core::Runtime> sim_;
  core::Stream first_;
  core::Stream second_;
};

}  // namespace medfusion::simulator
