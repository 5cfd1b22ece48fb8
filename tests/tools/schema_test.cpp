// The data contract in the program: medfusion data, schema.json, and new data held against it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;

// 40 rows of 20 patients: an age of 30.5 to 69.5, a sex that goes with the label, a word that the text ends
// with.
std::string patients_csv() {
  std::string csv = "name,who,age,sex,site,note,sick,constant\n";
  for (int row = 0; row < 40; ++row) {
    csv += "r" + std::to_string(row) + ",p" + std::to_string(row / 2) + "," +
           std::to_string(30 + row * 7 % 40) + ".5," + (row % 3 == 0 ? "F" : "M") + "," +
           (row % 4 == 0   ? ""
            : row % 4 == 1 ? "arm"
                           : "leg") +
           ",seen today " + (row % 2 == 0 ? "well" : "unwell") + "," + (row % 2 == 0 ? "1" : "0") + ",7\n";
  }
  return csv;
}

// A configuration of a table and text without images.
fs::path make_clinic(const TemporaryFolder& folder, const std::string& table = patients_csv()) {
  write(folder / "table.csv", table);
  return write(folder / "clinic.toml",
               "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + folder.path().string() +
                   "\"\nfile = \"table.csv\"\nlabels = [\"sick\"]\nid_column = \"name\"\n"
                   "patient_column = \"who\"\ntext_column = \"note\"\ntext_length = 2\n"
                   "split = \"random\"\nval_fraction = 0.2\ntest_fraction = 0.2\n"
                   "[features]\nmode = \"all\"\n"
                   "[model]\nsize = \"tiny\"\ndim = 8\nheads = 2\nlayers = 1\nbranches.dense = false\n"
                   "branches.pyramid = false\nmodalities.image = false\n"
                   "[train]\nepochs = 1\nbatch_size = 8\nwarmup_epochs = 0\n");
}

Json column_named(const Json& schema, const std::string& name) {
  for (const Json& column : schema.at("columns")) {
    if (column.at("name") == name) return column;
  }
  return {};
}

TEST(DataCommand, ShowsColumnsWithTheirRolesKindsAndFigures) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder);
  const Outcome outcome = run_medfusion({"data", config.string(), "--json", "--set", "data.test_fraction=0"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json schema = Json::parse(outcome.out);
  EXPECT_EQ(column_named(schema, "name").at("role"), "id");
  EXPECT_EQ(column_named(schema, "who").at("role"), "patient");
  EXPECT_EQ(column_named(schema, "note").at("role"), "text");
  EXPECT_EQ(column_named(schema, "sick").at("role"), "label");
  const Json constant = column_named(schema, "constant");
  EXPECT_EQ(constant.at("role"), "left out");
  EXPECT_EQ(constant.at("why"), "it holds one value only");
  const Json sex = column_named(schema, "sex");
  EXPECT_EQ(sex.at("kind"), "category");
  EXPECT_EQ(sex.at("coding"), "F = 0, M = 1");
  EXPECT_EQ(sex.at("features"), Json({"sex=M"}));
  const int64_t rows = schema.at("parts").at("train").at("rows");
  EXPECT_EQ(
      sex.at("categories")[0].at("rows").get<int64_t>() + sex.at("categories")[1].at("rows").get<int64_t>(),
      rows);
  EXPECT_GT(column_named(schema, "site").at("missing"), 0);
  const Json age = column_named(schema, "age");
  EXPECT_EQ(age.at("kind"), "number");
  EXPECT_EQ(age.at("distinct"), rows);
  EXPECT_GE(age.at("range")[0], 30);
  EXPECT_LE(age.at("range")[1], 70);
  EXPECT_EQ(schema.at("text").at("cut"), rows);  // the third word of each
  EXPECT_EQ(schema.at("text").at("vocabulary"), 4);
  EXPECT_EQ(schema.at("parts").at("train").at("patients"), rows / 2);
  EXPECT_EQ(schema.at("parts").at("train").at("labels").at("sick").at("prevalence"), 0.5);
  const Json& inputs = schema.at("parts").at("train").at("inputs");
  EXPECT_EQ(inputs.at("site").at("missing"), column_named(schema, "site").at("missing"));
  EXPECT_EQ(inputs.at("sex").at("categories").at("F"), sex.at("categories")[0].at("rows"));
  EXPECT_NEAR(inputs.at("age").at("mean").get<double>(), 49.5, 10.0);
  EXPECT_GT(inputs.at("age").at("deviation").get<double>(), 0.0);
  EXPECT_TRUE(schema.at("parts").at("test").at("inputs").at("age").at("mean").is_null());  // it has no rows
  EXPECT_TRUE(schema.at("images").is_null());
}

TEST(DataCommand, SaysWhyAColumnIsNoInput) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder);
  const auto why = [&](const std::string& setting, const std::string& column) {
    const Outcome outcome = run_medfusion({"data", config.string(), "--json", "--set", setting});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return column_named(Json::parse(outcome.out), column).value("why", "");
  };
  EXPECT_EQ(why("data.exclude=[\"site\"]", "site"), "data.exclude names it");
  EXPECT_EQ(why("data.table=[\"age\"]", "site"), "data.table does not name it");
}

TEST(DataCommand, DescribesThePhantomWithin60LinesOf120Columns) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const Outcome outcome = run_medfusion({"data", (folder / "tiny.toml").string()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = lines_of(outcome.out);
  EXPECT_LE(lines.size(), 60U);
  for (const std::string& line : lines) EXPECT_LE(line.size(), 120U) << line;
  EXPECT_THAT(outcome.out, HasSubstr("32 x 32 pixels"));
  EXPECT_THAT(outcome.out, HasSubstr("1 channel, 8 bits; all gray"));
  for (const char* section : {"\ntable ", "\nimages ", "\ntext ", "\nparts ", "\nlabels "})
    EXPECT_THAT(outcome.out, HasSubstr(section));
}

TEST(DataCommand, ShowsDataThatTrainRefuses) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder);
  const Outcome outcome = run_medfusion({"data", config.string(), "--set", "guard.leaking=[\"site\"]"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("warning: train refuses this: "));
  EXPECT_THAT(outcome.out, HasSubstr("site"));
}

// What is odd about the texts is a note, of data, train and data.json.
TEST(DataCommand, NotesTextsOfTheTrainingPart) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder);
  const auto notes = [&](const std::vector<std::string>& settings) {
    std::vector<std::string> arguments{"data", config.string()};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    return run_medfusion(arguments).err;
  };
  const std::string cut =
      "note: half of the texts or more are longer than the 2 words that are read (data.text_length)\n";
  const std::string empty =
      "note: the texts have no vocabulary: the training part has no word 99 times (data.text_min_count)\n";
  EXPECT_THAT(notes({}),
              AllOf(HasSubstr(cut), Not(HasSubstr("vocabulary")), Not(HasSubstr("in the training part"))));
  EXPECT_THAT(notes({"data.text_length=3", "data.text_min_count=99"}),
              AllOf(HasSubstr(empty), Not(HasSubstr("half"))));
  EXPECT_THAT(notes({"model.modalities.text=false"}), Not(HasSubstr("half")));
  const fs::path run = folder / "run";
  succeed(train_command(config, run));
  EXPECT_THAT(contents(run / "data.json"), HasSubstr("half of the texts or more"));
}

TEST(DataCommand, RefusesAConfigurationWithoutData) {
  const Outcome outcome = run_medfusion({"data", MEDFUSION_SOURCE_DIR "/tools/configs/densenet121.toml"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("data.format: expected data, got \"none\""));
}

TEST(Schema, TrainWritesWhatDataShowsAndPrintsAShortForm) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder), run = folder / "run";
  const Outcome outcome = run_medfusion({"train", config.string(), "--out", run.string()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Outcome shown = run_medfusion({"data", config.string(), "--json"});
  EXPECT_EQ(Json::parse(contents(run / "schema.json")), Json::parse(shown.out));
  EXPECT_THAT(outcome.err, HasSubstr("\ninputs: age, sex, site\n"));
  EXPECT_THAT(outcome.err, HasSubstr("\nlabels (train): sick "));
  EXPECT_EQ(run_medfusion(train_command(config, folder / "quiet")).err, "");
  EXPECT_EQ(contents(folder / "quiet" / "schema.json"), contents(run / "schema.json"));
}

// The program is killed as soon as the run has weights, long before it would end.
TEST(Schema, ARunThatWasCutOffHasIt) {
  const TemporaryFolder folder;
  const fs::path config = make_clinic(folder), run = folder / "run";
  const std::string script = MEDFUSION_BINARY_DIR "/bin/medfusion train " + config.string() + " --out " +
                             run.string() +
                             " --quiet --set train.epochs=1000000 & pid=$!; while kill -0 $pid && "
                             "! [ -e " +
                             (run / "last.safetensors").string() +
                             " ]; do sleep 0.05; done; "
                             "kill -9 $pid";
  ASSERT_EQ(std::system(script.c_str()), 0);
  const Outcome shown = run_medfusion({"data", config.string(), "--json"});
  EXPECT_EQ(Json::parse(contents(run / "schema.json")), Json::parse(shown.out));
}

class TrainedClinic : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome outcome = run_medfusion(train_command(make_clinic(folder_), run_));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  Outcome predict(const std::string& rows, const std::vector<std::string>& more = {}) {
    write(folder_ / "new.csv", "name,who,age,sex,site,note,sick\n" + rows);
    std::vector<std::string> arguments{"predict", run_.string(), "--table", (folder_ / "new.csv").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_medfusion(arguments);
  }

  const TemporaryFolder folder_;
  const fs::path run_ = folder_ / "run";
};

TEST_F(TrainedClinic, PredictNamesWhatTrainingNeverSaw) {
  const std::string rows =
      "a,a,50,Male,arm,seen today,0\nb,b,50,Female,arm,seen today,1\nc,c,500,M,leg,seen today,0\n";
  const Outcome outcome = predict(rows);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::string sex =
      "column 'sex': 2 of 3 rows have a category that training never saw ('Female', 'Male')";
  EXPECT_THAT(outcome.err, HasSubstr(sex));
  EXPECT_THAT(outcome.err, HasSubstr("column 'age': 1 of 3 rows are outside of training's range"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("site")));
  const Outcome strict = predict(rows, {"--strict"});
  EXPECT_EQ(strict.code, 2);
  EXPECT_THAT(strict.err, AllOf(HasSubstr(sex), HasSubstr("column 'age': 1 of 3")));
  EXPECT_EQ(lines_of(strict.err).size(), 1U);
  EXPECT_EQ(strict.out, "");
  EXPECT_EQ(predict(rows, {"--quiet"}).err, "");
}

TEST_F(TrainedClinic, PredictSaysNothingOfRowsLikeThoseOfTraining) {
  const Outcome outcome = predict("a,a,50,M,arm,seen today,0\nb,b,50,F,,seen today,1\n", {"--strict"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(TrainedClinic, ARunWithoutASchemaSaysSo) {
  fs::remove(run_ / "schema.json");
  const std::string row = "a,a,500,Male,arm,seen today,0\n";
  const Outcome outcome = predict(row);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("has no schema.json"));
  EXPECT_EQ(predict(row, {"--strict"}).code, 2);
}

TEST_F(TrainedClinic, EvalOfOtherDataIsHeldAgainstIt) {
  const fs::path other = folder_ / "other";
  fs::create_directory(other);
  std::string table = patients_csv();
  for (size_t at = table.find(",M,"); at != std::string::npos; at = table.find(",M,"))
    table.replace(at, 3, ",X,");
  write(other / "table.csv", table);
  const std::vector<std::string> command{
      "eval", run_.string(), "--data", other.string(), "--bootstrap",
      "0",    "--split",     "train",  "--out",        (folder_ / "out").string()};
  const Outcome outcome = run_medfusion(command);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("warning: column 'sex': "));
  auto strict = command;
  strict.push_back("--strict");
  EXPECT_EQ(run_medfusion(strict).code, 2);
  // The run's own data are not.
  const Outcome own = run_medfusion({"eval", run_.string(), "--bootstrap", "0", "--split", "val"});
  EXPECT_THAT(own.err, Not(HasSubstr("warning")));
}

TEST_F(TrainedClinic, ExplainOfATableIsHeldAgainstIt) {
  write(folder_ / "new.csv", "name,who,age,sex,site,note,sick\na,a,50,Male,arm,seen today,0\n");
  const std::vector<std::string> command{"explain", run_.string(),
                                         "--table", (folder_ / "new.csv").string(),
                                         "--out",   (folder_ / "out").string()};
  const Outcome outcome = run_medfusion(command);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("column 'sex': 1 of 1 rows have a category"));
  auto strict = command;
  strict.push_back("--strict");
  EXPECT_EQ(run_medfusion(strict).code, 2);
}

// A cell without a value is neither of the two words, whichever sorts first, and `explain` says the same.
TEST(DataContract, AMissingCellIsNeitherOfTwoWords) {
  for (const auto& [sick, healthy] : {std::pair{"F", "M"}, std::pair{"Z", "M"}}) {
    const TemporaryFolder folder;
    std::string table = "name,who,sex,age,sick\n";
    for (int row = 0; row < 80; ++row)
      table += fmt::format("r{},p{},{},{}.5,{}\n", row, row, row % 2 ? sick : healthy, row % 7,
                           row % 13 == 0 ? 1 - row % 2 : row % 2);
    const fs::path config = make_clinic(folder, table), run = folder / "run", asked = folder / "new.csv";
    succeed(train_command(
        config, run,
        {"--set", "data.text_column=", "--set", "train.epochs=25", "--set", "train.learning_rate=0.01"}));
    write(asked, fmt::format("name,sex,age\na,{},3.5\nb,,3.5\nc,{},3.5\n", sick, healthy));
    const Outcome outcome = run_medfusion({"predict", run.string(), "--json", "--table", asked.string()});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("column 'sex': 1 of 3 rows have no value, training had one in every "
                                       "row; predicted as the mean over its values"));
    std::vector<double> probabilities;
    const Json predicted = Json::parse(outcome.out).at("predictions");
    for (const Json& row : predicted) probabilities.push_back(row.at("probabilities").at("sick"));
    EXPECT_GT(probabilities.at(0), probabilities.at(1) + 0.1) << sick;
    EXPECT_GT(probabilities.at(1), probabilities.at(2) + 0.1) << sick;
    succeed(
        {"explain", run.string(), "--table", asked.string(), "--out", (folder / "why").string(), "--quiet"});
    const Json samples = Json::parse(contents(folder / "why" / "explain.json")).at("samples");
    for (size_t row = 0; row < 3; ++row) {
      const Json label = samples.at(row).at("labels")[0];
      EXPECT_NEAR(label.at("probability").get<double>(), probabilities[row], 1e-5);
      EXPECT_EQ(label.at("features")[0].at("present"), row != 1);
    }
  }
}

}  // namespace
}  // namespace medfusion::tools
