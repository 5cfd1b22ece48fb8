// Samples are ranked by log odds, which tell apart what rounds to a probability of 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/evaluation/measures/compare.h"
#include "tools/evaluation/measures/predictions_file.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;

const std::string kRankedHead = "id,patient,probability_A,logit_A,target_A\n";

// Four negatives below four positives, and all of them round to 1 in float.
std::string saturated_rows() {
  std::string csv = kRankedHead;
  for (int i = 0; i < 8; ++i) csv += fmt::format("x{},p{},1,{},{}\n", i, i, 20.0 + 2.5 * i, i < 4 ? 0 : 1);
  return csv;
}

PredictionsFile parsed(const std::string& csv) { return parse_predictions(csv, "predictions.csv"); }

TEST(Ranking, LogitsOfTwentyToThirtySevenKeepTheirOrder) {
  EvaluationOptions options;
  options.resamples = 100;
  const auto json = evaluation_json(parsed(saturated_rows()).input, options);
  const auto& label = json["labels"]["A"];
  EXPECT_EQ(json["macro"]["auroc"]["value"], 1.0);
  EXPECT_EQ(label["measures"]["auroc"]["value"], 1.0);
  EXPECT_EQ(label["measures"]["auprc"]["value"], 1.0);
  EXPECT_EQ(label["delong"]["auroc"], 1.0);
  EXPECT_EQ(label["roc"].size(), 9U);
  EXPECT_EQ(label["roc"][4][0], 0.0);  // all positives, no negative
  EXPECT_EQ(label["roc"][4][1], 1.0);
  EXPECT_EQ(label["roc"][4][2], 1.0);  // a threshold is a probability
  EXPECT_EQ(label["precision_recall"].back()[1], 1.0);
  EXPECT_NEAR(json["controls"][0]["labels"]["A"]["auroc"]["value"].get<double>(), 0.5, 0.1);
  EXPECT_NE(json["controls"][0]["labels"]["A"]["auroc"]["low"],
            json["controls"][0]["labels"]["A"]["auroc"]["high"]);
}

TEST(Ranking, ComparisonsAreOfTheLogits) {
  std::string reversed = kRankedHead, rounded = "id,patient,probability_A,target_A\n";
  for (int i = 0; i < 8; ++i) {
    reversed += fmt::format("x{},p{},1,{},{}\n", i, i, 40.0 - 2.5 * i, i < 4 ? 0 : 1);
    rounded += fmt::format("x{},p{},1,{}\n", i, i, i < 4 ? 0 : 1);
  }
  EvaluationOptions options;
  options.resamples = 100;
  const auto first = parsed(saturated_rows());
  const auto opposite = compare_predictions(first, parsed(reversed), "first", "second", options);
  EXPECT_EQ(opposite["labels"]["A"]["delong"]["difference"], 1.0);
  EXPECT_EQ(opposite["macro"]["auroc"]["difference"]["value"], 1.0);
  // Files of older versions have no log odds: what is rounded is tied.
  const auto older = compare_predictions(first, parsed(rounded), "first", "second", options);
  EXPECT_EQ(older["macro"]["auroc"]["second"]["value"], 0.5);
  EXPECT_EQ(older["labels"]["A"]["delong"]["second"], 0.5);
}

TEST(Ranking, LogitsThatDoNotFitTheProbabilityAreRefused) {
  const auto refusal = [](const std::string& row) -> std::string {
    try {
      parsed(kRankedHead + row);
    } catch (const core::InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("x,p,0.5,0,1\n"), "");
  EXPECT_THAT(refusal("x,p,0.5,1,1\n"),
              HasSubstr("predictions.csv:2:9: expected the log odds of the probability in column 'logit_A'"));
  EXPECT_THAT(refusal("x,p,0.5,,1\n"), HasSubstr("predictions.csv:2:9: expected the log odds"));
}

}  // namespace
}  // namespace medfusion::tools
