// data.on_error = "skip" through the commands: rows left out, listed, and the same bytes as without them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/png_bytes.h"
#include "tests/tools/bad_input_table.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kSkippedLine =
    "photo/3.png: expected a PNG or JPEG image, got an HTML page, such as servers send in place of "
    "a file\n";

// Twenty rows, of which row 3 has no image but a page of a server. sound.csv lacks that row.
class SkippedRows : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "photo");
    std::string whole = "image,sick,age\n", sound = whole;
    for (int i = 0; i < 20; ++i) {
      const std::string name = std::to_string(i) + ".png";
      const std::string row =
          name + "," + std::to_string(i % 2) + "," + std::to_string(30 + i * i % 7) + "\n";
      whole += row;
      if (i != 3) sound += row;
      write(folder_ / "photo" / name, i == 3 ? "<html>" : data::black_png(32 + i, 32));
    }
    write(folder_ / "table.csv", whole);
    write(folder_ / "sound.csv", sound);
    write(folder_ / "c.toml",
          "threads = 1\n[data]\nformat = \"csv\"\nroot = \".\"\nfile = \"table.csv\"\nimages = \"photo\"\n"
          "image_column = \"image\"\nlabels = [\"sick\"]\nimage_size = 32\non_error = \"skip\"\n"
          "[model]\nsize = \"tiny\"\n[train]\nepochs = 1\nbatch_size = 4\nwarmup_epochs = 0\n");
  }

  Outcome run(const std::vector<std::string>& arguments) const {
    const Outcome outcome = run_in(folder_.path(), arguments);
    EXPECT_EQ(outcome.code, 0) << testing::PrintToString(arguments) << outcome.err;
    return outcome;
  }

  const TemporaryFolder folder_;
};

TEST_F(SkippedRows, TrainingIsThatOfTheOtherRows) {
  const Outcome skipped = run({"train", "c.toml", "--out", "run"});
  EXPECT_THAT(skipped.err, HasSubstr("note: 1 of 20 rows are skipped, for their images cannot be read "
                                     "(data.on_error), such as ./photo/3.png: expected a PNG"));
  EXPECT_EQ(
      contents(folder_ / "run/skipped.csv"),
      "id,file,reason\n3.png,./photo/3.png,\"expected a PNG or JPEG image, got an HTML page, such as servers "
      "send in place of a file\"\n");
  EXPECT_THAT(contents(folder_ / "run/data.json"), HasSubstr("1 of 20 rows are skipped"));
  run({"train", "c.toml", "--out", "sound", "--set", "data.file=sound.csv", "--set", "data.on_error=fail",
       "--quiet"});
  EXPECT_EQ(contents(folder_ / "run/best.safetensors"), contents(folder_ / "sound/best.safetensors"));
  EXPECT_EQ(contents(folder_ / "run/metrics.jsonl").substr(0, 40),
            contents(folder_ / "sound/metrics.jsonl").substr(0, 40));
  EXPECT_FALSE(fs::exists(folder_ / "sound/skipped.csv"));
}

TEST_F(SkippedRows, OtherCommandsListThem) {
  run({"train", "c.toml", "--out", "run", "--quiet"});
  const Outcome evaluated = run({"eval", "run", "--bootstrap", "0"});
  EXPECT_THAT(evaluated.err,
              HasSubstr("note: rows skipped, for their images cannot be read (data.on_error): 1\n"));
  EXPECT_THAT(evaluated.err, AllOf(HasSubstr("\nskipped: "), HasSubstr(kSkippedLine)));
  const Outcome predicted = run({"predict", "run", "--images", "photo"});
  EXPECT_EQ(lines_of(predicted.out).size(), 20U);  // the header and nineteen rows
  EXPECT_EQ(predicted.out.find("3.png\n"), std::string::npos);
  EXPECT_THAT(predicted.err, AllOf(HasSubstr("\nskipped: "), HasSubstr(kSkippedLine)));
  EXPECT_THAT(run({"data", "c.toml"}).err, AllOf(HasSubstr("\nskipped: "), HasSubstr(kSkippedLine)));
  EXPECT_EQ(run({"predict", "run", "--images", "photo", "--quiet"}).err, "");
  const Outcome refused =
      run_in(folder_.path(), {"predict", "run", "--images", "photo", "--on-error", "fail"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.out, "");
}

TEST_F(SkippedRows, AnOptionDecidesOfNewImages) {
  run({"train", "c.toml", "--out", "run", "--quiet", "--set", "data.file=sound.csv", "--set",
       "data.on_error=fail"});
  EXPECT_EQ(run_in(folder_.path(), {"predict", "run", "--images", "photo"}).code, 2);
  EXPECT_EQ(lines_of(run({"predict", "run", "--images", "photo", "--on-error", "skip"}).out).size(), 20U);
  const std::vector<std::string> explain{"explain", "run", "--images", "photo/2.png", "photo/3.png"};
  EXPECT_EQ(run_in(folder_.path(), explain).code, 2);
  std::vector<std::string> skipping = explain;
  skipping.insert(skipping.end(), {"--on-error", "skip"});
  EXPECT_THAT(run(skipping).out, HasSubstr("explained 1 sample by"));
}

}  // namespace
}  // namespace medfusion::tools
