// Labels of which exactly one is true: softmax from the data to the report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "data/readers/csv.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;
using testing::Not;

// An array of bytes as .npy.
std::string npy(const std::string& shape, const std::string& bytes) {
  std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(128 - 10 - 1 - header.size(), ' ').append("\n");
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header + bytes;
}

// Images of 16x16 in three classes: a bright stripe on the left, in the middle or on the right.
void write_stripes(const fs::path& path) {
  std::map<std::string, std::string> arrays;
  uint32_t state = 1;
  for (const auto& [part, count] : {std::pair{"train", 60}, {"val", 30}, {"test", 45}}) {
    std::string images, labels;
    for (int i = 0; i < count; ++i) {
      const int label = i % 3;
      labels += static_cast<char>(label);
      for (int pixel = 0; pixel < 256; ++pixel) {
        state = state * 1664525U + 1013904223U;
        const int noise = static_cast<int>(state >> 26U);
        images += static_cast<char>((pixel % 16) / 6 == label ? 160 + noise : 40 + noise);
      }
    }
    arrays[std::string(part) + "_images.npy"] = npy(std::to_string(count) + ", 16, 16", images);
    arrays[std::string(part) + "_labels.npy"] = npy(std::to_string(count) + ", 1", labels);
  }
  zip_t* const archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  ASSERT_NE(archive, nullptr);
  for (const auto& [name, bytes] : arrays) {
    zip_source_t* const source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
    ASSERT_GE(zip_file_add(archive, name.c_str(), source, 0), 0);
  }
  ASSERT_EQ(zip_close(archive), 0);
}

// A table of three words that follow from one number, as 0 or 1 in columns of their own too.
std::string kinds_table(int rows) {
  std::string text = "id,x,kind,part,A,B,C\n";
  for (int i = 0; i < rows; ++i) {
    const int kind = i % 3;
    text += fmt::format("r{},{},{},{},{},{},{}\n", i, kind * 10 + i % 5, "ABC"[kind],
                        i < rows / 2 ? "train" : (i < 3 * rows / 4 ? "val" : "test"), kind == 0 ? 1 : 0,
                        kind == 1 ? 1 : 0, kind == 2 ? 1 : 0);
  }
  return text;
}

class OneOfMany : public testing::Test {
 protected:
  fs::path stripes() const {
    write_stripes(folder_ / "stripes.npz");
    return write(folder_ / "stripes.toml",
                 "threads = 1\n[data]\nformat = \"medmnist\"\nroot = \"" + folder_.path().string() +
                     "\"\nfile = \"stripes.npz\"\nimage_size = 16\n[model]\nsize = "
                     "\"tiny\"\n[train]\nepochs = 12\nbatch_size = 12\nselect = \"last\"\n");
  }
  // Of `text`, with lines for [data].
  fs::path of_table(const std::string& text, const std::string& keys) const {
    write(folder_ / "table.csv", text);
    return write(folder_ / "table.toml",
                 "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + folder_.path().string() +
                     "\"\nfile = \"table.csv\"\nid_column = \"id\"\npart_column = \"part\"\nsplit = "
                     "\"own\"\ntable = [\"x\"]\n" +
                     keys +
                     "\n[model]\nsize = \"tiny\"\nmodalities.image = false\nbranches.dense = "
                     "false\nbranches.pyramid = false\n[train]\nepochs = 2\nbatch_size "
                     "= 8\n");
  }
  static Json json_in(const fs::path& path) { return Json::parse(contents(path)); }
  TemporaryFolder folder_;
};

// The columns PREFIX_LABEL of a file of predictions, row by row.
std::vector<std::vector<double>> cells_of(const data::CsvTable& table, const std::string& prefix,
                                          const std::vector<std::string>& labels) {
  std::vector<std::vector<double>> rows(static_cast<size_t>(table.rows()));
  for (const std::string& label : labels) {
    const int column = table.column(prefix + label);
    for (int64_t row = 0; row < table.rows(); ++row)
      rows[static_cast<size_t>(row)].push_back(table.number(row, column));
  }
  return rows;
}

size_t largest(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

TEST_F(OneOfMany, ClassesOfMedMnistAreTrainedBySoftmax) {
  const fs::path run = folder_ / "run";
  succeed(train_command(stripes(), run));
  EXPECT_THAT(contents(run / "config.toml"), HasSubstr("output = \"softmax\""));
  EXPECT_TRUE(json_in(run / "schema.json").at("exclusive_labels").get<bool>());
  const std::string terminal = run_medfusion({"eval", run.string(), "--bootstrap", "100"}).out;
  const std::vector<std::string> labels{"class_0", "class_1", "class_2"};
  const auto predictions = data::CsvTable::read((run / "predictions.csv").string());
  const auto probabilities = cells_of(predictions, "probability_", labels);
  const auto raw = cells_of(predictions, "raw_", labels);
  const auto targets = cells_of(predictions, "target_", labels);
  const auto predicted = cells_of(predictions, "predicted_", labels);
  EXPECT_FALSE(predictions.find_column("risk_class_0"));
  std::vector<std::vector<int64_t>> confusion(3, std::vector<int64_t>(3, 0));
  int64_t right = 0;
  ASSERT_EQ(probabilities.size(), 45U);
  for (size_t row = 0; row < 45; ++row) {
    EXPECT_NEAR(probabilities[row][0] + probabilities[row][1] + probabilities[row][2], 1.0, 1e-6);
    EXPECT_NEAR(raw[row][0] + raw[row][1] + raw[row][2], 1.0, 1e-6);
    std::vector<double> decision(3, 0.0);
    decision[largest(probabilities[row])] = 1.0;
    EXPECT_EQ(predicted[row], decision);
    ++confusion[largest(targets[row])][largest(probabilities[row])];
    right += largest(targets[row]) == largest(probabilities[row]) ? 1 : 0;
  }
  const Json evaluation = json_in(run / "evaluation.json");
  const double acc = evaluation.at("acc").at("value").get<double>();
  EXPECT_DOUBLE_EQ(acc, static_cast<double>(right) / 45.0);
  EXPECT_GT(acc, 0.9);
  EXPECT_EQ(evaluation.at("confusion_matrix").at("labels"), Json(labels));
  EXPECT_EQ(evaluation.at("confusion_matrix").at("counts"), Json(confusion));
  EXPECT_THAT(terminal, HasSubstr(fmt::format("ACC {:.4f}", acc)));
  const Json calibrators = json_in(run / "preprocessing.json").at("calibration");
  for (const Json& each : calibrators) {
    EXPECT_EQ(each.at("method"), "temperature");
    EXPECT_EQ(each.at("slope"), calibrators[0].at("slope"));
  }
  for (const std::string& label : labels) {
    const Json& each = evaluation.at("labels").at(label);
    EXPECT_TRUE(each.at("threshold").is_null());
    EXPECT_EQ(each.at("no_threshold"), "the most probable label is predicted");
    EXPECT_TRUE(each.at("risk").at("levels").empty());
    EXPECT_TRUE(each.at("measures").at("sensitivity").at("value").is_number());
  }
  succeed({"report", run.string(), "--quiet"});
  EXPECT_THAT(contents(run / "report.html"), HasSubstr("Rows by true and by most probable label"));
}

TEST_F(OneOfMany, OneSeedGivesTheSameBytesOnAnyNumberOfThreads) {
  const fs::path config = stripes();
  for (const char* threads : {"1", "2"}) {
    succeed(train_command(config, folder_ / threads,
                          {"--threads", threads, "--set", "train.epochs=2", "--set",
                           "train.pos_weight=balanced", "--set", "train.label_smoothing=0.1"}));
  }
  for (const char* name : {"best.safetensors", "last.safetensors", "preprocessing.json"}) {
    EXPECT_FALSE(contents(folder_ / "1" / name).empty()) << name;
    EXPECT_TRUE(contents(folder_ / "1" / name) == contents(folder_ / "2" / name)) << name;
  }
}

TEST_F(OneOfMany, SigmoidTakesThemAsIndependent) {
  const fs::path run = folder_ / "run";
  succeed(train_command(stripes(), run,
                        {"--set", "model.output=sigmoid", "--set", "train.epochs=1", "--set",
                         "train.loss=focal", "--set", "calibration.method=isotonic"}));
  succeed({"eval", run.string(), "--quiet", "--bootstrap", "0"});
  EXPECT_THAT(contents(run / "predictions.csv"), HasSubstr("risk_class_0"));
  const Json evaluation = json_in(run / "evaluation.json");
  EXPECT_FALSE(evaluation.contains("confusion_matrix"));
  EXPECT_EQ(evaluation.at("acc").at("rule"), "labels above 0.5, mean of the labels");
}

TEST_F(OneOfMany, FoldsAreEvaluatedByTheMostProbableLabel) {
  const fs::path config = of_table(kinds_table(90), "class_column = \"kind\"");
  succeed({"cv", config.string(), "--out", (folder_ / "cv").string(), "--quiet", "--set", "data.split=folds",
           "--set", "data.folds=3", "--set", "data.part_column="});
  const Json evaluation = json_in(folder_ / "cv" / "evaluation.json");
  EXPECT_EQ(evaluation.at("acc").at("rule"), "the most probable label");
  int64_t rows = 0;
  for (const Json& row : evaluation.at("confusion_matrix").at("counts"))
    for (const Json& count : row) rows += count.get<int64_t>();
  EXPECT_EQ(rows, 90);
}

TEST_F(OneOfMany, WordsOfAColumnAreLabels) {
  const fs::path run = folder_ / "run";
  const Outcome trained = run_medfusion(
      {"train", of_table(kinds_table(60), "class_column = \"kind\"").string(), "--out", run.string()});
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_THAT(trained.err,
              HasSubstr("note: column 'kind' has 3 words, each of which is a label: A (20 rows), "
                        "B (20 rows), C (20 rows)\n"));
  EXPECT_EQ(lines_of(contents(run / "labels.txt")), (std::vector<std::string>{"A", "B", "C"}));
  // A column for each label says the same.
  const fs::path columns = folder_ / "columns";
  succeed(
      train_command(of_table(kinds_table(60), "labels = [\"A\", \"B\", \"C\"]\nexclusive = true"), columns));
  EXPECT_TRUE(contents(run / "last.safetensors") == contents(columns / "last.safetensors"));
  // A new table needs no column of words, and may have others.
  write(folder_ / "new.csv", "id,x,kind\nn0,3,unheard\nn1,13,\n");
  succeed({"predict", run.string(), "--table", (folder_ / "new.csv").string(), "--quiet", "--out",
           (folder_ / "out.csv").string()});
  const std::string csv = contents(folder_ / "out.csv");
  EXPECT_THAT(csv, HasSubstr("id,probability_A,probability_B,probability_C,logit_A,logit_B,logit_C,raw_A,"));
}

TEST_F(OneOfMany, ARowWithTwoLabelsOrNoneIsRefused) {
  for (const auto& [row, ones] : {std::pair{"r0,0,A,train,1,1,0\n", 2}, {"r0,0,A,train,0,0,0\n", 0}}) {
    std::string text = kinds_table(60);
    text.replace(text.find("r0,"), text.find("r1,") - text.find("r0,"), row);
    const Outcome outcome = run_medfusion(
        train_command(of_table(text, "labels = [\"A\", \"B\", \"C\"]\nexclusive = true"), folder_ / "run"));
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(fmt::format("table.csv:2:14: expected exactly one of the 3 labels to "
                                                   "be 1 (data.exclusive), got {}",
                                                   ones)));
  }
}

TEST_F(OneOfMany, AWordThatIsNoLabelIsRefused) {
  const Outcome outcome = run_medfusion(train_command(
      of_table(kinds_table(60), "class_column = \"kind\"\nlabels = [\"C\", \"A\"]"), folder_ / "run"));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(
      outcome.err,
      HasSubstr("table.csv:3:7: expected one of the 2 labels (data.labels) in column 'kind', got 'B'"));
}

// Row r0 has no word: it trains nothing, and has no target.
TEST_F(OneOfMany, AMissingWordIsUnknown) {
  std::string text = kinds_table(60);
  text.replace(text.find(",A,train"), 2, ",");
  const fs::path run = folder_ / "run";
  succeed(train_command(of_table(text, "class_column = \"kind\""), run));
  const Json labels = json_in(run / "schema.json").at("parts").at("train").at("labels");
  EXPECT_EQ(labels.at("A").at("known"), 29);
  EXPECT_EQ(labels.at("C").at("known"), 29);
  succeed({"eval", run.string(), "--split", "train", "--quiet", "--bootstrap", "0"});
  const Json evaluation = json_in(run / "evaluation.json");
  int64_t rows = 0;
  for (const Json& row : evaluation.at("confusion_matrix").at("counts"))
    for (const Json& count : row) rows += count.get<int64_t>();
  EXPECT_EQ(rows, 29);
}

TEST_F(OneOfMany, AClassThatTrainingLacksIsSaidAndPredicted) {
  std::string text = kinds_table(60);
  text += "last,40,D,test,0,0,0\n";
  const fs::path run = folder_ / "run";
  const Outcome outcome =
      run_medfusion({"train", of_table(text, "class_column = \"kind\"").string(), "--out", run.string()});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("note: the training part has no positive row of D\n"));
  EXPECT_THAT(contents(run / "train.log"), HasSubstr("note: the training part has no positive row of D\n"));
  succeed({"eval", run.string(), "--quiet", "--bootstrap", "0"});
  const auto predictions = data::CsvTable::read((run / "predictions.csv").string());
  const auto probabilities = cells_of(predictions, "probability_", {"D"});
  EXPECT_FALSE(probabilities.empty());
  for (const auto& row : probabilities) EXPECT_GT(row.at(0), 0.0);
}

TEST_F(OneOfMany, WhatDoesNotSuitIsRefused) {
  const fs::path config = of_table(kinds_table(60), "class_column = \"kind\"");
  const auto refuses = [&](const fs::path& file, const std::string& setting, const std::string& what) {
    const Outcome outcome = run_medfusion(train_command(file, folder_ / "run", {"--set", setting}));
    EXPECT_EQ(outcome.code, 2) << setting;
    EXPECT_THAT(outcome.err, HasSubstr(what));
    EXPECT_FALSE(fs::exists(folder_ / "run"));
  };
  refuses(config, "train.loss=focal",
          "train.loss: expected \"bce\" where exactly one label is true, got \"focal\"");
  refuses(config, "calibration.method=isotonic",
          "calibration.method: expected \"temperature\" or \"none\" where exactly one label is true");
  refuses(config, "data.exclusive=true", "data.exclusive: expected columns of labels (data.labels)");
  make_phantom(folder_);
  refuses(folder_ / "tiny.toml", "model.output=softmax",
          "model.output: expected \"auto\" or \"sigmoid\", for the data does not say that exactly one label");
}

TEST_F(OneOfMany, TheHeadStartsAnewFromWeightsOfTheOtherOutput) {
  const fs::path config = of_table(kinds_table(60), "class_column = \"kind\"");
  succeed(train_command(config, folder_ / "first", {"--set", "model.output=sigmoid"}));
  const auto start = [&](const std::string& output) {
    const Outcome outcome =
        run_medfusion({"train", config.string(), "--out", (folder_ / output).string(), "--init",
                       (folder_ / "first" / "last.safetensors").string(), "--init-partial", "--set",
                       "model.output=" + output, "--force", "--set", "train.epochs=0"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(start("softmax"), HasSubstr("3 x label of softmax: 'A', 'B', 'C'"));
  const auto weights = [&](const char* run) {
    return core::load_safetensors((folder_ / run / "last.safetensors").string()).at("attention_head.weight");
  };
  const core::Tensor old = weights("first"), anew = weights("softmax");
  bool differs = false;
  for (int64_t i = 0; i < old.numel(); ++i) differs |= old.at(i) != anew.at(i);
  EXPECT_TRUE(differs);
  EXPECT_THAT(start("sigmoid"), Not(HasSubstr("label of")));
}

}  // namespace
}  // namespace medfusion::tools
