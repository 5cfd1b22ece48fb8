// Stage one in the program: the command, and its place in train, eval, predict and cv.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/safetensors.h"
#include "tests/tools/end_to_end.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

nlohmann::json json_of(const fs::path& path) { return nlohmann::json::parse(contents(path)); }

// Columns of a CSV file without quotes.
std::vector<std::map<std::string, std::string>> rows_of(const std::string& csv) {
  const auto cells = [](const std::string& line) {
    std::vector<std::string> result{""};
    for (const char c : line) {
      if (c == ',') {
        result.emplace_back();
      } else {
        result.back() += c;
      }
    }
    return result;
  };
  const auto lines = lines_of(csv);
  const auto names = cells(lines.at(0));
  std::vector<std::map<std::string, std::string>> rows;
  for (size_t i = 1; i < lines.size(); ++i) {
    const auto values = cells(lines[i]);
    for (size_t c = 0; c < names.size(); ++c)
      (c == 0 ? rows.emplace_back() : rows.back())[names[c]] = values.at(c);
  }
  return rows;
}

// The documented command finds what synth says it planted, and at most one in twenty noise columns.
TEST(Features, FindsWhatThePhantomPlanted) {
  const TemporaryFolder folder;
  const fs::path data = folder / "phantom", out = folder / "features";
  succeed({"synth", "--out", data.string(), "--images", "1200", "--size", "32", "--quiet"});
  const std::string config = MEDFUSION_SOURCE_DIR "/tools/configs/phantom-clinical.toml";
  const Outcome outcome =
      run_medfusion({"features", config, "--set", "data.root=" + data.string(), "--out", out.string()});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("Cardiomegaly"));
  // The guard speaks of what was planted, as it would of a leak.
  EXPECT_THAT(outcome.err, HasSubstr("warning: column 'spo2' alone (its value) tells 'Pneumothorax'"));
  const auto json = json_of(out / "features.json");
  const auto selected = [&](const std::string& label) {
    return json.at("labels").at(label).at("selected").get<std::set<std::string>>();
  };
  std::set<std::string> noise, noise_found;
  int planted = 0;
  for (const auto& row : rows_of(contents(data / "features_truth.csv"))) {
    if (row.at("label").empty()) {
      noise.insert(row.at("column"));
      continue;
    }
    ++planted;
    EXPECT_TRUE(selected(row.at("label")).contains(row.at("feature"))) << row.at("feature");
  }
  EXPECT_EQ(planted, 9);
  EXPECT_EQ(noise.size(), 40U);
  for (const auto& [label, entry] : json.at("labels").items()) {
    for (const std::string& feature : selected(label)) {
      for (const std::string& column : noise) {
        if (feature.starts_with(column)) noise_found.insert(column);
      }
    }
  }
  EXPECT_LE(noise_found.size(), noise.size() / 20) << testing::PrintToString(noise_found);
  // The CSV file says the same.
  size_t count = 0;
  for (const auto& row : rows_of(contents(out / "features.csv"))) {
    const bool is_selected = row.at("selected") == "1";
    count += is_selected ? 1 : 0;
    EXPECT_EQ(selected(row.at("label")).contains(row.at("feature")), is_selected);
  }
  EXPECT_GE(count, 9U);
}

// A table without images: label `sick` follows from `value` (missing in every seventh row), the rest is
// noise.
fs::path make_table(const TemporaryFolder& folder, const std::string& features) {
  std::string csv = "id,value,noise,kind,sick,part\n";
  for (int i = 0; i < 160; ++i) {
    const int value = i * 37 % 101;
    const std::string cell = i % 7 == 3 ? "" : std::to_string(value);
    csv +=
        fmt::format("{},{},{},{},{},{}\n", i, cell, i * 53 % 97, i % 2 == 0 ? "a" : "b", value > 50 ? 1 : 0,
                    i % 4 == 0   ? "test"
                    : i % 4 == 1 ? "val"
                                 : "train");
  }
  write(folder / "table.csv", csv);
  write(folder / "table.toml",
        "[data]\nformat = \"csv\"\nroot = \"" + folder.path().string() +
            "\"\nfile = \"table.csv\"\nid_column = \"id\"\npart_column = \"part\"\nsplit = \"own\"\n"
            "labels = [\"sick\"]\n[features]\n" +
            features +
            "\n[model]\nsize = \"tiny\"\nmodalities.image = false\nmodalities.text = false\n"
            "branches.dense = false\nbranches.pyramid = false\nmodality_dropout = 0.0\ndropout = 0.0\n"
            "[train]\nepochs = 12\nbatch_size = 10\nwarmup_epochs = 0\nlearning_rate = 5e-3\n");
  return folder / "table.toml";
}

TEST(Features, EveryModeTrainsAndPredictsWhatItEvaluated) {
  for (const std::string features :
       {"mode = \"top_n\"", "mode = \"all\"", "mode = \"all\"\ndiscretize = \"quantile\"",
        "mode = \"top_n\"\ndiscretize = \"cuts\"\ncuts = [\"value: 50\"]\n"
        "impute = \"median\""}) {
    const TemporaryFolder folder;
    const fs::path config = make_table(folder, features), run = folder / "run";
    succeed(train_command(config, run));
    const auto json = json_of(run / "features.json");
    EXPECT_EQ(json.at("labels").at("sick").at("selected").get<std::vector<std::string>>(),
              std::vector<std::string>{"value"});
    EXPECT_EQ(json.at("rows"), 80);
    const auto weights = core::load_safetensors((run / "last.safetensors").string());
    const bool top = features.find("top_n") != std::string::npos;
    EXPECT_EQ(weights.at("table_tokens.weight").size(0), top ? 1 : 3) << features;
    EXPECT_EQ(weights.contains("table_tokens.bin"), features != "mode = \"all\"") << features;
    succeed({"eval", run.string(), "--quiet"});
    const auto metrics = json_of(run / "metrics.json");
    EXPECT_GT(metrics.at("labels").at("sick").at("auroc").get<double>(), 0.85) << features;
    // New rows go through what was stored.
    std::map<std::string, std::string> predicted;
    for (const auto& row :
         rows_of(succeed({"predict", run.string(), "--table", (folder / "table.csv").string(), "--quiet"})))
      predicted[row.at("id")] = row.at("probability_sick");
    const auto evaluated = rows_of(contents(run / "predictions.csv"));
    EXPECT_EQ(evaluated.size(), 40U);
    for (const auto& row : evaluated) EXPECT_EQ(predicted.at(row.at("id")), row.at("probability_sick"));
    // The stored form is complete.
    const std::string text = contents(run / "preprocessing.json");
    EXPECT_EQ(Preprocessing::from_json(nlohmann::ordered_json::parse(text), "p.json").to_json(),
              nlohmann::ordered_json::parse(text));
  }
}

TEST(Features, ModeNoneReadsNoTable) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path run = folder / "run";
  succeed(train_command(folder / "tiny.toml", run, {"--set", "features.mode=none"}));
  EXPECT_FALSE(fs::exists(run / "features.json"));
  const auto weights = core::load_safetensors((run / "last.safetensors").string());
  EXPECT_FALSE(weights.contains("table_tokens.weight"));
  EXPECT_TRUE(weights.contains("text_tokens.position"));
  succeed({"eval", run.string(), "--quiet"});
}

// Beside the image: labels without a selection see no table; the extra table is found beside --table.
TEST(Features, SelectionPerLabelBesideTheImage) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path run = folder / "run", data = folder / "phantom";
  succeed(train_command(folder / "tiny.toml", run,
                        {"--set", "features.mode=top_n", "--set", "data.extra_table=clinical.csv", "--set",
                         "features.top_n=2", "--set", "features.alpha=0.9"}));
  const auto selection = json_of(run / "preprocessing.json").at("features");
  const auto names = selection.at("features").get<std::vector<std::string>>();
  EXPECT_GE(names.size(), 2U);
  EXPECT_LT(names.size(), 40U);
  const auto stage = json_of(run / "features.json");
  size_t label = 0;
  for (const std::string& name : lines_of(contents(run / "labels.txt"))) {
    const auto& entry = stage.at("labels").at(name);
    EXPECT_LE(entry.at("selected").size(), 2U);
    const auto& seen = selection.at("mask").at(label++);
    if (entry.at("selected").empty()) {
      EXPECT_TRUE(seen.empty());
    }
    for (const std::string feature : entry.at("selected")) {
      if (feature.ends_with(" is missing")) continue;
      EXPECT_TRUE(std::any_of(seen.begin(), seen.end(),
                              [&](const auto& i) { return names.at(i.template get<size_t>()) == feature; }));
    }
  }
  succeed({"eval", run.string(), "--quiet"});
  std::map<std::string, std::map<std::string, std::string>> predicted;
  for (const auto& row :
       rows_of(succeed({"predict", run.string(), "--table", (data / "Data_Entry_2017.csv").string(),
                        "--quiet", "--images", (data / "images").string()})))
    predicted[row.at("id")] = row;
  for (const auto& row : rows_of(contents(run / "predictions.csv"))) {
    for (const auto& [column, value] : predicted.at(row.at("id"))) EXPECT_EQ(row.at(column), value) << column;
  }
  // An image alone is possible, too.
  succeed({"predict", run.string(), "--images", (data / "images").string(), "--quiet"});
}

TEST(Features, EachFoldSelectsForItself) {
  const TemporaryFolder folder;
  const fs::path config = make_table(folder, "mode = \"top_n\"\nbootstrap = 0");
  succeed({"cv", config.string(), "--folds", "2", "--out", (folder / "cv").string(), "--quiet", "--set",
           "train.epochs=1"});
  const auto first = json_of(folder / "cv" / "fold0" / "features.json");
  const auto second = json_of(folder / "cv" / "fold1" / "features.json");
  EXPECT_LT(first.at("rows").get<int>(), 100);
  EXPECT_NE(first, second);
}

TEST(Features, BadInputIsOneLine) {
  const TemporaryFolder folder;
  const fs::path config = make_table(folder, "mode = \"top_n\"\nalpha = 0.0");
  const auto refused = [&](std::vector<std::string> arguments, const std::string& what) {
    const Outcome outcome = run_medfusion(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(what));
    EXPECT_EQ(lines_of(outcome.err).size(), 1U);
  };
  refused(train_command(config, folder / "run"),
          "stage one selected no feature for any label at features.alpha = 0");
  refused({"features", config.string(), "--set", "features.cuts=value: 5 4"},
          "features.cuts: expected a column, a colon and ascending numbers");
  refused({"features", config.string(), "--set", "features.discretize=cuts"}, "features.cuts: expected cuts");
  refused({"features", config.string(), "--set", "features.discretize=cuts", "--set", "features.cuts=kind: 5",
           "--out", (folder / "f").string()},
          "features.cuts: the table has no numeric column 'kind'");
  const fs::path run = folder / "with-run";
  succeed(train_command(config, run, {"--set", "features.mode=all", "--set", "train.epochs=0"}));
  const std::string before = contents(run / "features.json");
  refused({"features", config.string(), "--out", run.string()}, "expected another folder than that of a run");
  EXPECT_EQ(contents(run / "features.json"), before);
  refused({"features", config.string(), "--set", "features.mode=none"}, "features.mode: expected");
  refused({"features", config.string(), "--set", "data.extra_table=x.csv"},
          "data.extra_table: expected data.format");
  refused({"features", MEDFUSION_SOURCE_DIR "/tools/configs/densenet121.toml"},
          "expected data, got \"none\"");
}

}  // namespace
}  // namespace medfusion::tools
