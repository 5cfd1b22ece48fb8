// medfusion pack, and training from what it writes.
#include <gmock/gmock.h>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class PackCommand : public testing::Test {
 protected:
  void SetUp() override {
    make_phantom(folder_);
    write(folder_ / "rounded.toml", replaced(contents(folder_ / "tiny.toml"), "image_size = 32",
                                             "image_size = 24\nround_pixels = true"));
  }

  static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
  }
  std::vector<std::string> pack(const std::string& name) const {
    return {"pack", (folder_ / "rounded.toml").string(), "--out", (folder_ / "phantom" / name).string(),
            "--quiet"};
  }
  // With these things planted into what writes files.
  Outcome pack(const std::string& name, const std::string& fault) const {
    Surroundings surroundings;
    surroundings.variables = {{"MEDFUSION_FILE_FAULT", fault}};
    return run_medfusion(pack(name), surroundings);
  }
  fs::path train(const std::string& name, const std::vector<std::string>& more) const {
    std::vector<std::string> options{"--set", "train.epochs=2"};
    options.insert(options.end(), more.begin(), more.end());
    succeed(train_command(folder_ / "rounded.toml", folder_ / name, options));
    return folder_ / name;
  }

  const TemporaryFolder folder_;
};

// All that a run holds but for its times and the name of the pack.
void expect_same_training(const fs::path& a, const fs::path& b) {
  Files of_a = files_in(a), of_b = files_in(b);
  for (const char* name : {"config.toml", "metrics.jsonl", "train.log"}) {
    EXPECT_EQ(of_a.erase(name), 1U);
    EXPECT_EQ(of_b.erase(name), 1U);
  }
  EXPECT_TRUE(of_a.contains("best.safetensors") && of_a.contains("schema.json"));
  EXPECT_TRUE(of_a == of_b);
  EXPECT_EQ(metrics_without_times(a), metrics_without_times(b));
}

TEST_F(PackCommand, TrainingFromItGivesTheBytesOfTrainingFromTheImages) {
  succeed(pack("p.safetensors"));
  const std::vector<std::string> packed{"--set", "data.pack=p.safetensors"};
  const fs::path of_images = train("images", {}), of_pack = train("pack", packed);
  expect_same_training(of_images, of_pack);
  const auto eval = [&](const fs::path& run, const char* out, std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", run.string(), "--out", (folder_ / out).string(), "--quiet"});
    succeed(more);
    return files_in(folder_ / out);
  };
  const Files expected = eval(of_images, "eval_images", {});
  EXPECT_TRUE(eval(of_pack, "eval_pack", {}) == expected);
  // A pack that is gone is named; data that are given are read without it, and --resume may leave it.
  fs::remove(folder_ / "phantom/p.safetensors");
  const Outcome gone = run_medfusion({"eval", of_pack.string(), "--quiet"});
  EXPECT_EQ(gone.code, 2);
  EXPECT_EQ(gone.err, "medfusion: " + (folder_ / "phantom/p.safetensors").string() +
                          ": cannot open the pack: No such file or directory\n");
  EXPECT_TRUE(eval(of_pack, "eval_data", {"--data", (folder_ / "phantom").string()}) == expected);
  succeed(
      {"train", "--resume", of_pack.string(), "--quiet", "--set", "train.epochs=3", "--set", "data.pack="});
  succeed({"train", "--resume", of_images.string(), "--quiet", "--set", "train.epochs=3"});
  expect_same_training(of_images, of_pack);
}

TEST_F(PackCommand, FoldsAndSkippedRowsAreThoseOfTheImages) {
  Files images = files_in(folder_ / "phantom/images");
  const std::string broken = images.begin()->first;
  write(folder_ / "phantom/images" / broken, "");
  write(folder_ / "rounded.toml", contents(folder_ / "rounded.toml") + "select = \"last\"\n");
  auto skipping = pack("p.safetensors");
  skipping.insert(skipping.end(), {"--set", "data.on_error=skip"});
  succeed(skipping);
  const auto cv = [&](const char* name, const std::string& pack) {
    succeed({"cv", (folder_ / "rounded.toml").string(), "--folds", "2", "--out", (folder_ / name).string(),
             "--quiet", "--set", "data.on_error=skip", "--set", "data.pack=" + pack});
    Files files = files_in(folder_ / name);
    std::erase_if(files, [](const auto& file) {
      return file.first.ends_with("config.toml") || file.first.ends_with("train.log") ||
             file.first.ends_with("metrics.jsonl") || file.first.ends_with("cv.toml") ||
             file.first.ends_with("cost.json") || file.first == "cv.json";
    });
    return files;
  };
  const Files of_images = cv("a", ""), of_pack = cv("b", "p.safetensors");
  EXPECT_GT(of_images.size(), 4U);
  EXPECT_TRUE(of_images == of_pack);
}

TEST_F(PackCommand, EndedAtAnyMomentItGoesOnToTheSameBytes) {
  succeed(pack("whole.safetensors"));
  const std::string whole = contents(folder_ / "phantom/whole.safetensors");
  const std::string calls = pack("counted.safetensors", "count").err;
  const int64_t count = std::stoll(calls.substr(calls.find(": ") + 2));
  EXPECT_GT(count, 48);
  const fs::path file = folder_ / "phantom/p.safetensors";
  for (int64_t call = 1; call <= count; call += std::max<int64_t>(1, call < 6 || call + 8 > count ? 1 : 9)) {
    SCOPED_TRACE(call);
    const Outcome killed = pack("p.safetensors", "kill@" + std::to_string(call));
    EXPECT_TRUE(killed.signaled);
    pack("p.safetensors", "kill@" + std::to_string(call));  // it may come as far as to the end now
    succeed(pack("p.safetensors"));
    EXPECT_TRUE(contents(file) == whole);
    fs::remove(file);
  }
}

TEST_F(PackCommand, AFullDiskIsOneLineAndItGoesOn) {
  succeed(pack("whole.safetensors"));
  for (const char* fault : {"full@3", "full@30", "quota@50"}) {
    const Outcome full = pack("p.safetensors", fault);
    EXPECT_EQ(full.code, 1);
    EXPECT_THAT(full.err,
                testing::MatchesRegex("medfusion: .*p.safetensors.partial: cannot write: .*; what is "
                                      "written is kept\n"));
    EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1);
  }
  succeed(pack("p.safetensors"));
  EXPECT_TRUE(contents(folder_ / "phantom/p.safetensors") == contents(folder_ / "phantom/whole.safetensors"));
}

TEST_F(PackCommand, SaysWhatItDoes) {
  auto loud = pack("p.safetensors");
  loud.pop_back();
  const std::string file = (folder_ / "phantom/p.safetensors").string();
  EXPECT_TRUE(pack("p.safetensors", "kill@30").signaled);
  Outcome outcome = run_medfusion(loud);
  EXPECT_THAT(outcome.err, HasSubstr("note: " + file + ": goes on, "));
  EXPECT_EQ(outcome.out, "wrote 48 images of 24x24x1 to " + file + "\n");
  outcome = run_medfusion(loud);
  EXPECT_EQ(outcome.out,
            file + ": holds these 48 images of 24x24x1 already, and their checksums are right\n");
  loud.emplace_back("--json");
  const auto json = nlohmann::json::parse(succeed(loud));
  EXPECT_EQ(json["rows"], 48);
  EXPECT_EQ(json["finished_before"], 48);
}

}  // namespace
}  // namespace medfusion::tools
