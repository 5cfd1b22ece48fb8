// bench/peers/recompute_report.py agrees with what the program writes, and notices a figure that was changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/random.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

struct Recomputed {
  int code = -1;
  std::string text;
};
Recomputed recompute(const std::string& arguments) {
  const std::string line =
      "python3 -B '" MEDFUSION_SOURCE_DIR "/bench/peers/recompute_report.py' " + arguments + " 2>&1";
  Recomputed result;
  FILE* const pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) return result;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) result.text += static_cast<char>(c);
  const int status = ::pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

// 150 patients of two rows each; `asked` tells more by being there than by what it holds.
void make_table(const TemporaryFolder& folder) {
  core::Generator generator(3);
  std::string csv = "patient,age,asked,site,A,B\n";
  for (int i = 0; i < 300; ++i) {
    const bool a = generator.uniform() < 0.4F, b = generator.uniform() < 0.2F;
    const bool asked = generator.uniform() < (a ? 0.8F : 0.3F);
    csv += fmt::format("p{},{:.1f},{},{},{},{}\n", i / 2, 50.0F + 10.0F * generator.normal() + (a ? 8 : 0),
                       asked ? fmt::format("{:.2f}", generator.normal()) : "", b ? "x" : "y", a ? 1 : 0,
                       b || i % 7 == 0 ? 1 : 0);
  }
  write(folder / "table.csv", csv);
  write(folder / "table.toml",
        "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + folder.path().string() +
            "\"\nfile = \"table.csv\"\npatient_column = \"patient\"\nlabels = [\"A\", \"B\"]\n"
            "split = \"random\"\nval_fraction = 0.25\n"
            "[model]\nsize = \"tiny\"\ndim = 16\nheads = 2\nbranches.dense = false\n"
            "branches.pyramid = false\nmodalities.image = false\nmodalities.text = false\n"
            "[train]\nepochs = 4\nbatch_size = 32\nwarmup_epochs = 0\n");
}

// Adds 0.001 to a number of a JSON file.
void tamper(const fs::path& path, const std::string& pointer) {
  auto json = nlohmann::ordered_json::parse(contents(path));
  auto& number = json[nlohmann::ordered_json::json_pointer(pointer)];
  number = number.get<double>() + 0.001;
  write(path, json.dump());
}

TEST(Recompute, AFigureThatWasChangedIsNoticed) {
  const TemporaryFolder folder;
  make_table(folder);
  const fs::path run = folder / "run";
  ASSERT_EQ(run_medfusion(train_command(folder / "table.toml", run)).code, 0);
  succeed({"eval", run.string(), "--quiet"});
  succeed({"report", run.string()});
  const Recomputed right = recompute(run.string());
  EXPECT_EQ(right.code, 0) << right.text;
  EXPECT_THAT(right.text, HasSubstr("numbers printed in the report"));
  const std::string before = contents(run / "evaluation.json");
  for (const char* figure :
       {"/labels/A/measures/auroc/value", "/labels/B/calibration/slope/value", "/labels/A/decision/40/1",
        "/labels/A/calibration/equal_width/1/observed", "/labels/A/roc/3/1", "/macro/ece/value"}) {
    tamper(run / "evaluation.json", figure);
    const Recomputed wrong = recompute(run.string() + " --resamples 0");
    EXPECT_EQ(wrong.code, 1) << figure << wrong.text;
    EXPECT_THAT(wrong.text, HasSubstr("DISAGREES")) << figure;
    write(run / "evaluation.json", before);
  }
  std::string page = contents(run / "report.html");
  const auto stated =
      nlohmann::json::parse(before)["labels"]["A"]["measures"]["auroc"]["value"].get<double>();
  const std::string printed = fmt::format("{:.3f} [", stated),
                    other = fmt::format("{:.3f} [", stated - 0.002);
  ASSERT_NE(page.find(printed), std::string::npos);
  for (size_t at = page.find(printed); at != std::string::npos; at = page.find(printed))
    page.replace(at, printed.size(), other);
  write(run / "report.html", page);
  EXPECT_EQ(recompute(run.string() + " --resamples 0").code, 1);
}

TEST(Recompute, CrossValidationsAndTheirComparison) {
  const TemporaryFolder folder;
  make_table(folder);
  const auto cv = [&](const std::string& name, const std::string& epochs) {
    const fs::path out = folder / name;
    EXPECT_EQ(run_medfusion({"cv", (folder / "table.toml").string(), "--folds", "3", "--seeds", "2", "--out",
                             out.string(), "--quiet", "--set", "train.epochs=" + epochs})
                  .code,
              0);
    return out;
  };
  const fs::path a = cv("a", "1"), b = cv("b", "4");
  succeed({"report", a.string()});
  const Recomputed right = recompute(a.string());
  EXPECT_EQ(right.code, 0) << right.text;
  EXPECT_THAT(right.text, HasSubstr("cross-validation"));
  write(folder / "compare.json", succeed({"compare", a.string(), b.string(), "--json"}));
  succeed({"report", a.string(), b.string(), "--out", (folder / "comparison.html").string()});
  const std::string pair =
      a.string() + " " + b.string() + " --comparison " + (folder / "compare.json").string();
  const Recomputed compared = recompute(pair + " --report " + (folder / "comparison.html").string());
  EXPECT_EQ(compared.code, 0) << compared.text;
  tamper(folder / "compare.json", "/cross_validation/macro_auroc/difference/value");
  EXPECT_EQ(recompute(pair + " --resamples 0").code, 1);
  tamper(a / "cv.json", "/macro_auroc/mean");
  EXPECT_EQ(recompute(a.string() + " --resamples 0").code, 1);
  // Which cells are empty tells A apart, fitted in each fold.
  const auto controls = nlohmann::json::parse(contents(a / "evaluation.json"))["controls"];
  ASSERT_EQ(controls.size(), 4U);
  EXPECT_EQ(controls[3]["name"], "missing_only");
  EXPECT_GT(controls[3]["labels"]["A"]["auroc"]["low"].get<double>(), 0.6);
  EXPECT_EQ(controls[2]["undefined"], "the data has no such column");  // no view
}

}  // namespace
}  // namespace medfusion::tools
