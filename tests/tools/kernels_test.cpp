// medfusion kernels list, check and bench, as a user runs them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/registry.h"
#include "tests/tools/end_to_end.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/workshop/roofline.h"

namespace medfusion::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Kernels, ListShowsEveryRegisteredVariant) {
  const Outcome outcome = run_medfusion({"kernels", "list", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto rows = nlohmann::json::parse(outcome.out);
  for (const auto& info : kernels::all_variants()) {
    const bool found = std::any_of(rows.begin(), rows.end(), [&](const auto& row) {
      return row.at("operation") == info.operation && row.at("variant") == info.name &&
             row.at("device") == core::name_of(info.device);
    });
    EXPECT_TRUE(found) << info.operation << "/" << info.name;
    EXPECT_FALSE(info.takes.empty()) << info.operation << " " << info.direction << "/" << info.name
                                     << ": its registration does not say what it takes";
  }
  for (const auto& row : rows) EXPECT_NE(row.at("takes").get<std::string>(), "") << row.dump();
  for (const std::string& line : lines_of(run_medfusion({"kernels", "list"}).out))
    EXPECT_LE(line.size(), 120U) << line;
  EXPECT_THAT(run_medfusion({"kernels", "list", "attention"}).out,
              AllOf(HasSubstr("attention"), HasSubstr("mma"), Not(HasSubstr("softmax"))));
}

TEST(Kernels, AVariantThatIsNamedIsWhatRuns) {
  CommonOptions options;
  options.device = "cpu";
  options.kernels = {"attention=eigen"};
  use_device(options);
  EXPECT_EQ(kernels::kernel_override("attention"), "eigen");
  kernels::set_kernel_override("attention", "");
  options.device = "sim";
  options.kernels = {"attention=mma", "dense_block=simt"};
  use_device(options);
  EXPECT_EQ(kernels::kernel_override("attention"), "mma");
  EXPECT_EQ(kernels::kernel_override("dense_block"), "simt");
  for (const char* operation : {"attention", "dense_block"}) kernels::set_kernel_override(operation, "");
  options = {};
  options.device = "cpu";
  use_device(options);
}

TEST(Kernels, ARunSaysWhichVariantsWereNamed) {
  const TemporaryFolder folder;
  const std::string data = (folder / "phantom").string(), run = (folder / "run").string();
  ASSERT_EQ(run_medfusion({"synth", "--out", data, "--images", "40", "--quiet"}).code, 0);
  const Outcome outcome = run_medfusion({"train", MEDFUSION_SOURCE_DIR "/tools/configs/tiny.toml", "--out",
                                         run, "--set", "data.root=" + data, "--set", "train.epochs=0",
                                         "--device", "cpu", "--kernel", "attention=eigen", "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(contents(folder / "run" / "train.log"),
              AllOf(HasSubstr(" threads, cpu\n"), HasSubstr("kernel: attention=eigen\n")));
}

TEST(Kernels, AVariantThatIsNotThereIsBadInput) {
  const auto complaint = [](const std::string& kernel) {
    const Outcome outcome = run_medfusion({"info", "--device", "sim", "--kernel", kernel});
    EXPECT_EQ(outcome.code, 2) << kernel;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(complaint("attention=mmma"), AllOf(HasSubstr("--kernel attention=mmma"), HasSubstr("on sim"),
                                                 HasSubstr("did you mean 'mma'?")));
  EXPECT_THAT(complaint("attention=cpu"), HasSubstr("on sim"));  // a variant of another device
  EXPECT_THAT(complaint("atention=mma"), HasSubstr("did you mean 'attention'?"));
  EXPECT_THAT(complaint("attention"), HasSubstr("OPERATION=VARIANT"));
  EXPECT_THAT(complaint("attention="), HasSubstr("OPERATION=VARIANT"));
  EXPECT_THAT(complaint("=mma"), HasSubstr("OPERATION=VARIANT"));
}

TEST(Kernels, CheckRunsTheCasesOnTheSimulatorUnderSeveralOrders) {
  const Outcome outcome =
      run_medfusion({"kernels", "check", "layer_norm/simt", "--device", "sim", "--schedules", "3", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto rows = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].at("device"), "sim");
  EXPECT_GT(rows[0].at("cases").get<int>(), 10);
  EXPECT_TRUE(rows[0].at("failures").empty());
}

TEST(Kernels, NamesThatAreNotThereAreBadInput) {
  for (const char* command : {"list", "check", "bench"}) {
    const Outcome outcome = run_medfusion({"kernels", command, "softmx"});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err,
                AllOf(HasSubstr("expected one of activation, attention,"), HasSubstr("got 'softmx'")));
  }
  const Outcome variant = run_medfusion({"kernels", "check", "softmax/fast"});
  EXPECT_EQ(variant.code, 2);
  EXPECT_THAT(variant.err, HasSubstr("softmax has no variant 'fast'"));
  const Outcome device = run_medfusion({"kernels", "check", "softmax/simt", "--device", "cpu"});
  EXPECT_EQ(device.code, 2);
  EXPECT_THAT(device.err, HasSubstr("no such variant on cpu"));
}

TEST(Kernels, TheSimulatorHasNoSpeedAndTheCpuNoSchedules) {
  EXPECT_THAT(run_medfusion({"kernels", "bench", "softmax", "--device", "sim"}).err,
              HasSubstr("has no speed"));
  EXPECT_THAT(run_medfusion({"kernels", "check", "softmax", "--device", "cpu", "--schedules", "2"}).err,
              HasSubstr("add --device sim"));
}

TEST(Kernels, BenchWritesResultsAndARoofline) {
  const TemporaryFolder folder;
  const std::string file = (folder / "bench.json").string(), plots = (folder / "plots").string();
  const Outcome outcome = run_medfusion({"kernels", "bench", "softmax/cpu", "--device", "cpu", "--seconds",
                                         "0.01", "--threads", "1", "--json", file, "--plot", plots});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("ceilings measured first"), HasSubstr("softmax/cpu forward"),
                                 HasSubstr("  peak MB"), HasSubstr("reserved MB")));
  const auto json = nlohmann::json::parse(std::ifstream(file));
  const auto& ceilings = json.at("ceilings");
  EXPECT_GT(ceilings.at("copy_bytes_per_second").get<double>(), 0.0);
  EXPECT_GT(ceilings.at("matrix_product_flops_per_second").get<double>(), 0.0);
  EXPECT_TRUE(ceilings.at("bf16_matrix_product_flops_per_second").is_null()) << "the cpu takes no bf16";
  EXPECT_THAT(outcome.out, Not(HasSubstr("bf16")));
  ASSERT_FALSE(json.at("rows").empty());
  for (const auto& row : json.at("rows")) {
    EXPECT_LE(row.at("p10_s").get<double>(), row.at("median_s").get<double>());
    EXPECT_GT(row.at("bytes").get<double>(), 0.0);
    EXPECT_GT(row.at("peak_bytes").get<int64_t>(), 0) << row.at("direction");
    EXPECT_GE(row.at("reserved_bytes").get<int64_t>(), row.at("peak_bytes").get<int64_t>());
    EXPECT_TRUE(row.at("peers_peak_bytes").empty());
    EXPECT_TRUE(row.at("peers_reserved_bytes").empty());
    const double seconds = row.at("median_s").get<double>(), bytes = row.at("bytes").get<double>();
    double memory = 0.0;  // the best of the largest size up to that of the row, and of larger ones
    for (const auto& rate : ceilings.at("memory_by_size")) {
      if (rate.at("bytes").get<double>() <= bytes) memory = 0.0;
      memory = std::max(memory, rate.at("bytes_per_second").get<double>());
    }
    EXPECT_DOUBLE_EQ(row.at("share_of_copy").get<double>(), bytes / seconds / memory);
    EXPECT_DOUBLE_EQ(row.at("share_of_product").get<double>(),
                     row.at("flops").get<double>() / seconds /
                         ceilings.at("matrix_product_flops_per_second").get<double>());
  }
  std::ifstream svg(plots + "/softmax.svg");
  const std::string text{std::istreambuf_iterator<char>(svg), {}};
  EXPECT_THAT(text, AllOf(HasSubstr("<svg "), HasSubstr("cpu forward"), HasSubstr("</svg>")));
}

TEST(Kernels, BenchTimesAForwardAndItsBackwardTogether) {
  const Outcome outcome = run_medfusion({"kernels", "bench", "softmax/cpu", "--device", "cpu", "--seconds",
                                         "0.01", "--threads", "1", "--direction", "both", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  ASSERT_FALSE(json.at("rows").empty());
  for (const auto& row : json.at("rows")) {
    EXPECT_EQ(row.at("direction"), "both");
    EXPECT_EQ(row.at("sets"), 1) << "the cpu's cache is not asked for";
    EXPECT_GT(row.at("peak_bytes").get<int64_t>(), 0);
    EXPECT_GE(row.at("reserved_bytes").get<int64_t>(), row.at("peak_bytes").get<int64_t>());
  }
  const Outcome graph = run_medfusion({"kernels", "bench", "softmax", "--device", "cpu", "--graph"});
  EXPECT_EQ(graph.code, 2);
  EXPECT_THAT(graph.err, HasSubstr("--graph needs a GPU"));
}

// A peer that counts the memory of forwards alone.
TEST(Kernels, BenchSetsTheMemoryOfAPeerBesideOurs) {
  const TemporaryFolder folder;
  const std::string script = (folder / "peer.py").string(), file = (folder / "bench.json").string();
  std::ofstream(script) << R"(import json, sys
for line in open(sys.argv[sys.argv.index("--cases") + 1]):
    key = json.loads(line)["key"]
    answer = {"key": key, "seconds": {"half": 1.0, "other": 2.0}}
    if " forward " in key:
        answer |= {"peak_bytes": {"half": 1000, "other": 1}, "reserved_bytes": {"half": 2000, "other": 1}}
    print(json.dumps(answer))
)";
  const Outcome outcome =
      run_medfusion({"kernels", "bench", "softmax/cpu", "--device", "cpu", "--seconds", "0.01", "--threads",
                     "1", "--peer", "--peer-script", script, "--json", file});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(std::ifstream(file));
  ASSERT_FALSE(json.at("rows").empty());
  for (const auto& row : json.at("rows")) {
    const bool is_forward = row.at("direction") == "forward";
    ASSERT_EQ(row.at("peers_reserved_bytes").empty(), !is_forward);
    EXPECT_EQ(row.at("peers_peak_bytes").empty(), !is_forward);
    if (!is_forward) continue;
    EXPECT_EQ(row.at("peers_reserved_bytes").at("half"), 2000);
    EXPECT_EQ(row.at("peers_peak_bytes").at("half"), 1000);
    EXPECT_THAT(outcome.out, HasSubstr(fmt::format(", memory {:.2f}x, reserved {:.2f}x",
                                                   1000.0 / row.at("peak_bytes").get<double>(),
                                                   2000.0 / row.at("reserved_bytes").get<double>())));
  }
}

// By the data sheet: no machine code is needed.
TEST(Kernels, FloorsOfACardAreShownInEveryBuild) {
  const Outcome outcome = run_medfusion({"kernels", "inspect", "attention", "--card", "h100"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("floor of the forward on H100"), HasSubstr("memory us, bf16")));
  EXPECT_EQ(run_medfusion({"kernels", "inspect", "abacus", "--card", "h100"}).code, 2);
}

TEST(Roofline, ShowsThePointsThatHaveOperations) {
  const std::string svg =
      roofline_svg("a < b", {1e9, 1e10, 0.0}, {{"on the roof", 1.0, 1e9}, {"no operations", 0.0, 0.0}});
  EXPECT_THAT(svg, AllOf(HasSubstr("a &lt; b"), HasSubstr("on the roof"), Not(HasSubstr("no operations"))));
  EXPECT_THAT(svg, HasSubstr("slope: copy 1.0 GB/s"));
  EXPECT_THAT(svg, HasSubstr("roof: f32 matrix product 10 GFLOP/s"));
}

TEST(Roofline, HasTheRoofsOfThePrecisionsThatItShows) {
  const kernels::Ceilings ceilings{1e9, 1e10, 1e12};
  const RooflinePoint f32{"one", 1.0, 1e9}, bf16{"two", 1.0, 1e9, core::DType::bf16};
  const auto roof_of = [](const char* precision) {
    return fmt::format("roof: {} matrix product", precision);
  };
  EXPECT_THAT(roofline_svg("", ceilings, {f32}),
              AllOf(HasSubstr(roof_of("f32")), Not(HasSubstr(roof_of("bf16")))));
  EXPECT_THAT(roofline_svg("", ceilings, {bf16}),
              AllOf(HasSubstr("roof: bf16 matrix product 1000 GFLOP/s"), Not(HasSubstr(roof_of("f32")))));
  EXPECT_THAT(roofline_svg("", ceilings, {f32, bf16}),
              AllOf(HasSubstr(roof_of("f32")), HasSubstr(roof_of("bf16"))));
  EXPECT_THAT(roofline_svg("", {1e9, 1e10, 0.0}, {bf16}), HasSubstr(roof_of("f32")));
}

TEST(Roofline, OfTheCpuHasASlopeForMemoryAndOneForCaches) {
  const std::string svg =
      roofline_svg("", {1e9, 1e10, 0.0, {{16 << 10, 5e9}, {1 << 28, 1e9}}}, {{"one", 1.0, 1e9}});
  EXPECT_THAT(svg, AllOf(HasSubstr("roof: f32 multiply-adds 10 GFLOP/s"), HasSubstr("slope: memory 1.0 GB/s"),
                         HasSubstr("thin: cache 5.0 GB/s")));
}

}  // namespace
}  // namespace medfusion::tools
