// What a study writes for people: tables, diagram, page.
#include <gmock/gmock.h>

#include <fmt/format.h>

#include "tests/tools/study.h"
#include "tools/evaluation/report/critical_difference.h"
#include "tools/evaluation/report/study_tables.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using StudyPage = TinyStudy;

TEST(CriticalDifference, BarsJoinTheLongestRunsOfRanks) {
  // Demsar's worked example: C4.5 (3.143) differs from none by 1.25, but the best two and the worst two do
  // not differ either: one bar over all.
  EXPECT_THAT(rank_groups({1.964, 2.000, 2.893, 3.143}, 1.25), ElementsAre(Pair(0, 3)));
  // At 0.10 (1.12) C4.5 is worse than the best two.
  EXPECT_THAT(rank_groups({1.964, 2.000, 2.893, 3.143}, 1.12), ElementsAre(Pair(0, 2), Pair(2, 3)));
  EXPECT_THAT(rank_groups({1.0, 2.0, 3.0}, 0.5), ElementsAre());
  EXPECT_THAT(rank_groups({1.0, 1.4, 2.6, 3.0}, 1.0), ElementsAre(Pair(0, 1), Pair(2, 3)));
}

TEST(CriticalDifference, TheDiagramShowsEveryModel) {
  const std::string svg = critical_difference_svg("Ranks", {"b<c", "a"}, {1.75, 1.25}, 3.0);
  EXPECT_THAT(svg, HasSubstr(">b&lt;c (1.75)</text>"));
  EXPECT_THAT(svg, HasSubstr(">a (1.25)</text>"));
  EXPECT_THAT(svg, HasSubstr("critical difference 3.00, wider than the axis"));
}

TEST(StudyTables, LatexAndTextHoldTheCells) {
  const TextTable table{{"model", "p"}, {"no_stage & one", "<= 0.01"}};
  EXPECT_EQ(aligned_text(table), "model                 p\nno_stage & one  <= 0.01\n");
  EXPECT_THAT(latex_table(table, "50% of it"),
              HasSubstr("\\caption{50\\% of it}\n\\begin{tabular}{lr}\n\\toprule\nmodel & p \\\\\n\\midrule\n"
                        "no\\_stage \\& one & $\\le$ 0.01 \\\\\n\\bottomrule\n"));
}

TEST_F(StudyPage, TablesFiguresAndReportAgreeWithItsResults) {
  succeed(command("out"));
  const auto out = folder_ / "out";
  const auto models = study_json("out")["data"]["phantom"]["models"];
  const auto csv = lines_of(contents(out / "tables" / "phantom.csv"));
  ASSERT_EQ(csv.size(), 3U);
  EXPECT_THAT(csv[1], HasSubstr("full," + models["full"]["measures"]["auroc"]["value"].dump()));
  const std::string value = fmt::format("{:+.3f}", models["image_only"]["difference"]["value"].get<double>());
  for (const char* file : {"tables/phantom.txt", "tables/phantom.tex"}) {
    EXPECT_THAT(contents(out / file), HasSubstr(value)) << file;
    EXPECT_THAT(contents(out / file), Not(HasSubstr("not counted"))) << file;
  }
  EXPECT_GT(models["full"]["costs"]["flops"].get<double>(), models["image_only"]["costs"]["flops"].get<double>());
  const std::string html = contents(out / "report.html");
  for (const char* text : {"Results on phantom", "Average ranks by macro AUROC", "critical difference",
                           "Macro AUROC on the validation parts", "model.modalities.table = false"})
    EXPECT_THAT(html, HasSubstr(text));
  for (const char* file : {"data-phantom-learning-curves.svg", "ranks-critical-difference.svg",
                           "data-phantom-differences.svg", "data-phantom-performance.csv"})
    EXPECT_TRUE(std::filesystem::exists(out / "figures" / file)) << file;
  // `report` makes the same page.
  succeed({"report", out.string(), "--out", (folder_ / "again.html").string()});
  EXPECT_EQ(contents(folder_ / "again.html"), html);
}

TEST_F(StudyPage, AStudyJsonThatIsNoneIsRefused) {
  std::filesystem::create_directories(folder_ / "out");
  write(folder_ / "out" / "study.json", "{\"data\": 3}");
  const Outcome outcome = run_medfusion({"report", (folder_ / "out").string()});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("study.json"));
}

}  // namespace
}  // namespace medfusion::tools
