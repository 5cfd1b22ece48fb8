// medfusion kernels inspect, as a user runs it, on the build's own library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/device.h"
#include "kernels/gpu/device_type.h"
#include "kernels/registry.h"
#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

bool built_with_cuda() {
  for (const auto& info : kernels::all_variants()) {
    if (info.device == kernels::cuda::kDeviceType) return true;
  }
  return false;
}

TEST(KernelsInspect, ABuildWithoutNvccSaysSo) {
  if (built_with_cuda()) GTEST_SKIP() << "this build has the cuda device";
  const Outcome shown = run_medfusion({"kernels", "inspect"});
  EXPECT_EQ(shown.code, 1);
  EXPECT_EQ(shown.err,
            "medfusion: this build holds no machine code for GPUs to read: it was built without nvcc, or "
            "compresses it\n");
  const Outcome checked = run_medfusion({"kernels", "inspect", "--check"});
  EXPECT_EQ(checked.code, 0);
  EXPECT_THAT(checked.out, StartsWith("SKIPPED: no machine code"));
}

TEST(KernelsInspect, ShowsWhatTheCompilerSays) {
  if (!built_with_cuda()) GTEST_SKIP() << "NOT TESTED: this build was made without nvcc";
  const TemporaryFolder folder;
  const std::string file = (folder / "static.json").string();
  const Outcome outcome = run_medfusion(
      {"kernels", "inspect", "layer_norm/simt", "--arch", "sm_90", "--json", file, "--card", "h100"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, StartsWith("static: what the compiler says, not a measurement\n"));
  EXPECT_THAT(outcome.out, HasSubstr("\nlayer_norm/simt\n"));
  EXPECT_THAT(outcome.out, HasSubstr("floor of the forward on H100 SXM"));
  const auto json = nlohmann::json::parse(contents(file));
  EXPECT_EQ(json["kind"], "static: what the compiler says, not a measurement");
  bool found = false;
  for (const auto& kernel : json["kernels"]) {
    EXPECT_EQ(kernel["operation"], "layer_norm");
    EXPECT_EQ(kernel["architecture"], "sm_90");
    if (kernel["kernel"] != "layer_norm_forward<4>") continue;
    found = true;
    EXPECT_GE(kernel["registers"], 16);
    EXPECT_EQ(kernel["max_threads"], 128);
    EXPECT_EQ(kernel["spill_store_bytes"], 0);
    EXPECT_GT(kernel["instructions"]["global_loads_by_bytes"]["16"], 2);
    EXPECT_GT(kernel["theoretical_occupancy"]["share"], 0.4);
  }
  EXPECT_TRUE(found) << outcome.out;
}

TEST(KernelsInspect, RefusesWhatDoesNotExist) {
  if (!built_with_cuda()) GTEST_SKIP() << "NOT TESTED: this build was made without nvcc";
  const Outcome kernel = run_medfusion({"kernels", "inspect", "layer_norm/none"});
  EXPECT_EQ(kernel.code, 2);
  EXPECT_THAT(kernel.err, testing::HasSubstr("layer_norm has no variant 'none'"));
  EXPECT_EQ(run_medfusion({"kernels", "inspect", "--card", "abacus"}).code, 2);
  EXPECT_EQ(run_medfusion({"kernels"}).code, 2);
}

}  // namespace
}  // namespace medfusion::tools
