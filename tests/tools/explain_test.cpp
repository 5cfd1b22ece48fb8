// medfusion explain from end to end.
#include <nlohmann/json.hpp>

#include "data/images/image.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

class ExplainCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    make_phantom(*folder_);
    succeed(train_command(*folder_ / "tiny.toml", *folder_ / "run"));
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static std::string boxes() { return path("phantom/BBox_List_2017.csv"); }
  static void expect_refused(std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), {"explain", path("run"), "--out", path("refused")});
    const Outcome outcome = run_medfusion(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(message), std::string::npos) << outcome.err;
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_FALSE(fs::exists(path("refused/explain.json")));
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* ExplainCommand::folder_ = nullptr;

TEST_F(ExplainCommand, WritesWhatTheDocumentSays) {
  succeed({"explain", path("run"), "--split", "test", "--limit", "3", "--boxes", boxes(), "--quiet"});
  const auto json = nlohmann::json::parse(contents(*folder_ / "run/explain/explain.json"));
  EXPECT_EQ(json["method"], "guided");
  EXPECT_EQ(json["split"], "test");
  ASSERT_EQ(json["samples"].size(), 3U);
  const auto rows = lines_of(contents(*folder_ / "phantom/test_list.txt"));  // evenly spread over them
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(json["samples"][i]["id"], rows[((i + 1) * rows.size() + 2) / 3 - 1]);
  int pictures = 0;
  for (const auto& sample : json["samples"]) {
    ASSERT_EQ(sample["labels"].size(), json["labels"].size());
    for (const auto& label : sample["labels"]) {
      EXPECT_TRUE(label.contains("probability") && label.contains("target"));
      if (!label.contains("overlay")) continue;
      ++pictures;
      const auto picture =
          data::decode_image((*folder_ / ("run/explain/" + label["overlay"].get<std::string>())).string());
      EXPECT_EQ(picture.size(2), 3);
      double sum = 0.0;
      for (const auto& [group, share] : label["attention"]["share"].items()) sum += share.get<double>();
      EXPECT_NEAR(sum, 1.0, 1e-5);
      EXPECT_TRUE(label["contributions"]["image"]["present"].get<bool>());
      EXPECT_TRUE(label["contributions"]["text"]["present"].get<bool>());
      EXPECT_EQ(label["features"].size(), 4U);
      EXPECT_FALSE(label["attention"]["words"].empty());
    }
  }
  EXPECT_GE(pictures, 3);
  const auto& matrix = json["attention"]["maps"].back()["label_label"];
  EXPECT_EQ(matrix.size(), json["labels"].size());
  EXPECT_EQ(matrix[0].size(), json["labels"].size());
  const auto& all = json["localization"]["scores"].back();
  EXPECT_EQ(all["label"], "all");
  EXPECT_EQ(all["cases"], json["localization"]["cases"].size());
  EXPECT_GT(all["cases"].get<int>(), 3);  // of all rows of the part, not of the three explained
  const auto csv = lines_of(contents(*folder_ / "run/explain/localization.csv"));
  EXPECT_EQ(csv.size(), json["localization"]["scores"].size() + 1);
}

TEST_F(ExplainCommand, ProbabilitiesAreThoseOfPredictAndWithoutATableItAddsNothing) {
  const std::string image = (*folder_ / "phantom/images/00000001_000.png").string();
  succeed({"explain", path("run"), "--images", image, "--labels", "Mass,Effusion", "--level", "C3",
           "--method", "gradcam++", "--out", path("image"), "--quiet"});
  const auto json = nlohmann::json::parse(contents(*folder_ / "image/explain.json"));
  const auto predicted =
      nlohmann::json::parse(succeed({"predict", path("run"), "--images", image, "--json", "--quiet"}));
  int shown = 0;
  for (const auto& label : json["samples"][0]["labels"]) {
    EXPECT_NEAR(label["probability"].get<double>(),
                predicted["predictions"][0]["probabilities"][label["label"].get<std::string>()].get<double>(),
                1e-6);
    EXPECT_TRUE(label["target"].is_null());
    if (!label.contains("overlay")) continue;
    ++shown;
    EXPECT_FALSE(label["contributions"]["table"]["present"].get<bool>());
    EXPECT_EQ(label["contributions"]["table"]["logit"], 0.0);
    EXPECT_EQ(label["contributions"]["text"]["probability"], 0.0);
    EXPECT_NE(label["contributions"]["image"]["logit"], 0.0);
  }
  EXPECT_EQ(shown, 2);
  EXPECT_TRUE(json["localization"].is_null());
}

TEST_F(ExplainCommand, OneTokenForTheWholeTextIsShownAsOneWord) {
  succeed(train_command(*folder_ / "tiny.toml", *folder_ / "mean",
                        {"--set", "model.text_tokens=mean", "--set", "train.epochs=1"}));
  succeed({"explain", path("mean"), "--split", "test", "--limit", "1", "--quiet"});
  const auto json = nlohmann::json::parse(contents(*folder_ / "mean/explain/explain.json"));
  int shown = 0;
  for (const auto& label : json["samples"][0]["labels"]) {
    if (!label.contains("attention")) continue;
    ++shown;
    const auto& words = label["attention"]["words"];
    ASSERT_EQ(words.size(), 1U);
    EXPECT_NE(words[0]["word"].get<std::string>().find(' '), std::string::npos);  // all of the text
    EXPECT_NEAR(words[0]["attention"].get<double>(), label["attention"]["share"]["text"].get<double>(), 1e-5);
  }
  EXPECT_GE(shown, 1);
}

// A plain network has maps; one that reads the table also says what that adds.
TEST_F(ExplainCommand, APlainNetworkIsExplained) {
  for (const std::string fusion : {"none", "film"}) {
    succeed(train_command(
        *folder_ / "tiny.toml", *folder_ / fusion,
        {"--set", "model.name=resnet18", "--set", "model.fusion=" + fusion, "--set", "train.epochs=1"}));
    succeed({"explain", path(fusion), "--split", "test", "--limit", "2", "--quiet"});
    const auto json = nlohmann::json::parse(contents(*folder_ / (fusion + "/explain/explain.json")));
    int shown = 0;
    for (const auto& label : json["samples"][0]["labels"]) {
      if (!label.contains("overlay")) continue;
      ++shown;
      EXPECT_EQ(label.contains("contributions"), fusion == "film");
      if (fusion != "film") continue;
      EXPECT_FALSE(label["contributions"].contains("image"));
      EXPECT_NE(label["contributions"]["table"]["logit"], 0.0);
    }
    EXPECT_GE(shown, 1);
  }
}

TEST_F(ExplainCommand, TheSameBytesForAnyNumberOfThreads) {
  for (const char* threads : {"1", "2"}) {
    succeed({"explain", path("run"), "--split", "val", "--limit", "4", "--boxes", boxes(), "--out",
             path(std::string("threads") + threads), "--threads", threads, "--quiet"});
  }
  const Files one = files_in(*folder_ / "threads1"), two = files_in(*folder_ / "threads2");
  EXPECT_GE(one.size(), 6U);
  EXPECT_EQ(one, two);
}

TEST_F(ExplainCommand, BadInputIsOneLine) {
  expect_refused({}, "expected --split, or --images, --table or both");
  expect_refused({"--split", "test", "--images", path("phantom/images")}, "expected --split, or --images");
  expect_refused({"--split", "test", "--level", "P7"}, "expected levels of P2 to P5");
  expect_refused({"--split", "test", "--labels", "Efusion"}, "no label 'Efusion'; did you mean 'Effusion'?");
  expect_refused({"--split", "test", "--map-threshold", "nan"},
                 "--map-threshold: expected a number in [0, 1]");
  expect_refused({"--split", "test", "--boxes", path("none.csv")}, "none.csv");
  const auto boxes =
      write(*folder_ / "bad.csv", "Image Index,Finding Label,x,y,w,h\na.png,Mass,1,2,wide,3\n");
  expect_refused({"--split", "test", "--boxes", boxes.string()}, "bad.csv:2:16: expected");
  const auto others =
      write(*folder_ / "others.csv", "Image Index,Finding Label,x,y,w,h\na.png,Mass,1,2,3,3\n");
  expect_refused({"--split", "test", "--boxes", others.string()}, "others.csv: expected boxes of the images");
}

}  // namespace
}  // namespace medfusion::tools
