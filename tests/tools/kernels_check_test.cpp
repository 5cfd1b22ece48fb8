// What `medfusion kernels check` counts, on variants that are wrong on purpose.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "core/runtime.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/op_case.h"
#include "tools/medfusion/commands/common.h"

namespace medfusion::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// y and z become x.
struct PlantedForward {
  static constexpr const char* kOperation = "planted";
  static constexpr const char* kDirection = "forward";
  core::View x, y, z;
  auto tensors() const { return std::array{&x, &y, &z}; }
};

// Only the first `count` elements.
void copy_some(const PlantedForward& a, int64_t count) {
  const core::Device sim{simulator::kDeviceType, 0};
  const int64_t bytes = std::min(count, a.x.numel()) * core::size_of(a.x.dtype);
  for (const core::View* to : {&a.y, &a.z})
    core::runtime(sim).copy_on_device(to->data, a.x.data, bytes, core::current_stream(sim));
}

// In a process of its own, so that nobody else finds them: three cases, and variants for sim. Of these
// "right" is right, "short" leaves the end of all but the smallest case, "empty" writes nothing and takes f32
// alone, and "picky" takes nothing.
void plant() {
  using kernels::Register;
  static const core::DeviceType sim = simulator::kDeviceType;
  static const Register<PlantedForward> reference(
      "reference", kernels::kCpu, 0, {kernels::takes::f64}, [](const PlantedForward& a) {
        for (int64_t i = 0; i < a.x.numel(); ++i)
          core::element<double>(a.y, i) = core::element<double>(a.z, i) = core::element<double>(a.x, i);
      });
  static const Register<PlantedForward> right("right", sim, 9, {},
                                              [](const PlantedForward& a) { copy_some(a, a.x.numel()); });
  static const Register<PlantedForward> cut("short", sim, 8, {},
                                            [](const PlantedForward& a) { copy_some(a, 4); });
  static const Register<PlantedForward> empty("empty", sim, 7, {kernels::takes::f32},
                                              [](const PlantedForward&) {});
  static const Register<PlantedForward> picky("picky", sim, 6,
                                              {{"nothing", [](const PlantedForward&) { return false; }}},
                                              [](const PlantedForward&) {});
  static const kernels::RegisterCases cases([] {
    std::vector<kernels::OpCase> made;
    for (const int64_t size : {2, 8, 16}) {
      kernels::OpCase c;
      c.operation = "planted";
      c.name = fmt::format("size={}", size);
      c.inputs = {{.name = "x", .shape = {size}}};
      c.outputs = {{.name = "y", .shape = {size}}, {.name = "z", .shape = {size}}};
      c.forward = kernels::runs<PlantedForward>("in:x", "out:y", "out:z");
      made.push_back(c);
    }
    return made;
  });
}

// Ends the process as the program does, with all that it prints on standard error.
[[noreturn]] void check_planted(const std::string& what, const std::string& option) {
  plant();
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  const int code = run_program({"kernels", "check", what, "--device", "sim", "--threads", "1", option});
  std::fflush(stdout);
  std::_Exit(code);
}

TEST(KernelsCheckDeathTest, CasesThatFailAreCountedOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto line = [](const char* variant, const char* type, int passed, int failed) {
    return fmt::format("planted/{:<24} {:<5} {:>3} cases passed, 0 not supported{}\n", variant, type, passed,
                       failed == 0 ? "" : fmt::format(", {} FAILED", failed));
  };
  // 15 cases in the precisions that the variants take; each of those that fail has two wrong outputs.
  EXPECT_EXIT(
      check_planted("planted", "--seed=20"), testing::ExitedWithCode(1),
      AllOf(HasSubstr(line("right", "f32", 3, 0)), HasSubstr(line("right", "bf16", 3, 0)),
            HasSubstr(line("short", "f32", 1, 2)), HasSubstr(line("short", "bf16", 1, 2)),
            HasSubstr(line("empty", "f32", 0, 3)), Not(HasSubstr(line("empty", "bf16", 0, 0))),
            HasSubstr(fmt::format("{:<38}   8 cases passed, 0 not supported, 7 FAILED\n", "all")),
            HasSubstr(
                "medfusion: kernels check: 7 of 15 cases failed, the first: planted/short [size=8] y[4]: "),
            HasSubstr("; planted/picky supports none of the cases\n")));
  EXPECT_EXIT(check_planted("planted", "--schedules=3"), testing::ExitedWithCode(1),
              AllOf(HasSubstr(line("right", "f32", 3, 0)), HasSubstr(line("short", "bf16", 1, 2)),
                    HasSubstr("medfusion: kernels check: 7 of 15 cases failed, ")));
  EXPECT_EXIT(check_planted("planted/short", "--seed=20"), testing::ExitedWithCode(1),
              AllOf(HasSubstr("medfusion: kernels check: 4 of 6 cases failed, the first: "),
                    Not(HasSubstr("supports none"))));
  EXPECT_EXIT(check_planted("planted/short", "--smallest=1"), testing::ExitedWithCode(0),
              AllOf(HasSubstr(line("short", "f32", 1, 0)), Not(HasSubstr("FAILED"))));
  EXPECT_EXIT(check_planted("planted/right", "--seed=20"), testing::ExitedWithCode(0),
              Not(HasSubstr("FAILED")));
  EXPECT_EXIT(check_planted("planted/picky", "--seed=20"), testing::ExitedWithCode(1),
              HasSubstr("medfusion: kernels check: planted/picky supports none of the cases\n"));
  EXPECT_EXIT(check_planted("planted/short", "--json"), testing::ExitedWithCode(1),
              AllOf(HasSubstr("\"cases\": 1,\n    \"failed\": 2,"), HasSubstr("4 of 6 cases failed")));
}

}  // namespace
}  // namespace medfusion::tools
