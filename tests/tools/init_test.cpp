// medfusion init: a configuration for a table and images that nobody described.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/images/image.h"

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A gray image of 32x32.
void write_gray(const fs::path& path, int level) {
  data::write_png(path.string(), core::Tensor::full({32, 32, 1}, level, core::DType::u8));
}

// 60 rows of 30 patients: photo/N.png, ages, a sex, a history of True and False, and two findings at the end.
// `taken` goes with the label `lump` wherever it is 1, as a biopsy does.
void make_photos(const fs::path& folder) {
  fs::create_directories(folder / "photo");
  std::string csv = "picture,patient,age,sex,site,smoker,taken,visit,answer,lump,scar\n";
  for (int row = 0; row < 60; ++row) {
    const std::string name = std::to_string(row) + ".png";
    write_gray(folder / "photo" / name, 60 + row * 37 % 150);
    const bool lump = row % 2 == 0;
    csv += "photo/" + name + ",p" + std::to_string(row / 2) + "," + std::to_string(30 + row * 7 % 40) + "," +
           (row % 3 == 0 ? "F" : "M") + ",s" + std::to_string(row % 4) + "," +
           (row % 5 == 0 ? "True" : "False") + "," + (lump || row % 11 == 0 ? "True" : "False") +
           ",2021-01-" + std::to_string(10 + row % 20) + "," +
           (row % 7 == 0  ? "UNK"
            : row % 5 < 2 ? "a"
                          : "b") +
           "," + (lump ? "1" : "0") + "," + (row % 3 == 1 ? "1" : "0") + "\n";
  }
  write(folder / "table.csv", csv);
}

Outcome init_in(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  Surroundings surroundings;
  surroundings.folder = folder.path();
  std::vector<std::string> arguments{"init"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_medfusion(arguments, surroundings);
}

TEST(Init, WritesAConfigurationThatTrains) {
  const TemporaryFolder folder;
  make_photos(folder.path());
  const Outcome outcome = init_in(folder, {"--table", "table.csv", "--images", "photo"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  for (const char* line :
       {"image     'picture': each of its 60 cells names a file [data.image_column]\n",
        "patient   'patient': it is called so, and has 30 values [data.patient_column]\n",
        "labels    lump, scar: the last columns of two values, which are coded alike and stand together "
        "[data.labels, --labels]\n",
        "or labels smoker, taken: of two values as well [data.labels, --labels]\n",
        "inputs    age, sex, site, smoker, answer: all that is left [data.table]\n",
        "left out  taken: it is True in all 30 rows that have 'lump', as an outcome would [data.table]\n",
        "left out  visit: it holds dates; data.table names it to use it [data.table]\n",
        "missing   UNK: cells that say so [data.missing]\n",
        "channels  1: 0 of 60 images looked at are in color",
        "size      32 x 32: ", "wrote medfusion.toml\n"}) {
    EXPECT_THAT(outcome.out, HasSubstr(line));
  }
  Surroundings there;
  there.folder = folder.path();
  const Outcome data = run_medfusion({"data", "medfusion.toml", "--json"}, there);
  ASSERT_EQ(data.code, 0) << data.err;
  EXPECT_EQ(nlohmann::json::parse(data.out).at("rows"), 60);
  const Outcome trained = run_medfusion({"train", "medfusion.toml", "--quiet", "--set", "train.epochs=1",
                                         "--set", "model.branches.attention=false"},
                                        there);
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_TRUE(fs::exists(folder / "runs" / "medfusion" / "schema.json"));
  // What looks like an outcome is refused as an input.
  const Outcome refused =
      run_medfusion({"train", "medfusion.toml", "--force", "--set", "data.table=age,taken"}, there);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("guard: column 'taken' is a target"));
}

TEST(Init, LabelsAreThoseThatTheUserNames) {
  const TemporaryFolder folder;
  make_photos(folder.path());
  const Outcome outcome = init_in(folder, {"--table", "table.csv", "--labels", "scar", "--out", "scar.toml"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("labels    scar: --labels [data.labels, --labels]\n"));
  // Another label beside it is no input.
  EXPECT_THAT(outcome.out,
              HasSubstr("left out  lump: it stands beside 'scar' and is coded alike [data.table]\n"));
  const std::string toml = contents(folder / "scar.toml");
  EXPECT_THAT(toml, AllOf(HasSubstr("\nlabels = [\"scar\"]\n"), HasSubstr("\ntargets = [\"lump\"]\n"),
                          HasSubstr("\nmodalities.image = false\n"), Not(HasSubstr("image_column"))));
  Surroundings there;
  there.folder = folder.path();
  const Outcome trained = run_medfusion({"train", "scar.toml", "--quiet", "--set", "train.epochs=1"}, there);
  EXPECT_EQ(trained.code, 0) << trained.err;
}

TEST(Init, AFileThatIsThereStays) {
  const TemporaryFolder folder;
  make_photos(folder.path());
  write(folder / "medfusion.toml", "mine");
  const Outcome outcome = init_in(folder, {"--table", "table.csv"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "medfusion: medfusion.toml: is there already; --force replaces it, --out names another file\n");
  EXPECT_EQ(contents(folder / "medfusion.toml"), "mine");
  EXPECT_EQ(init_in(folder, {"--table", "table.csv", "--force"}).code, 0);
  const std::string table = contents(folder / "table.csv");
  const Outcome itself = init_in(folder, {"--table", "table.csv", "--out", "./table.csv", "--force"});
  EXPECT_EQ(itself.code, 2);
  EXPECT_EQ(itself.err, "medfusion: --out ./table.csv: expected another file than what is read\n");
  EXPECT_EQ(contents(folder / "table.csv"), table);
}

TEST(Init, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  make_photos(folder.path());
  fs::create_directory(folder / "empty");
  const auto refused = [&](const std::vector<std::string>& arguments) {
    const Outcome outcome = init_in(folder, arguments);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(arguments);
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_FALSE(fs::exists(folder / "medfusion.toml"));
    return outcome.err;
  };
  EXPECT_THAT(refused({"--table", "absent.csv"}), HasSubstr("absent.csv: "));
  EXPECT_THAT(refused({"--table", "table.csv", "--images", "absent"}),
              HasSubstr("absent: expected a folder of images"));
  EXPECT_THAT(refused({"--table", "table.csv", "--labels", "lumpy"}), HasSubstr("did you mean 'lump'?"));
  EXPECT_THAT(refused({"--table", "table.csv", "--labels", "age"}), HasSubstr("table.csv:2:"));
  fs::remove(folder / "photo" / "7.png");
  EXPECT_THAT(refused({"--table", "table.csv", "--images", "photo"}),
              HasSubstr("table.csv:9:1: 1 of 60 cells of column 'picture' name no file in "));
  write(folder / "words.csv", "dx,age\nmel,3\nnev,4\nbcc,5\n");
  EXPECT_THAT(refused({"--table", "words.csv"}),
              HasSubstr("words.csv:1: no column can be a label; expected "));
  write(folder / "sick.csv", "sick\n0\n1\n0\n1\n");
  EXPECT_THAT(refused({"--table", "sick.csv"}),
              HasSubstr("no column is left as an input: each is a label, "));
  fs::remove_all(folder / "photo");
  write(folder / "photo", "");
  EXPECT_THAT(refused({"--table", "table.csv", "--images", "photo"}),
              HasSubstr("photo: expected a folder of images"));
}

TEST(Init, AColumnThatCannotBeReadIsLeftOut) {
  const TemporaryFolder folder;
  std::string csv = "age,height,sick\n";
  for (int row = 0; row < 40; ++row) {
    csv += std::to_string(30 + row * 7 % 37) + "," + (row == 3 ? "tall" : std::to_string(150 + row)) + "," +
           (row % 3 == 0 ? "yes" : "no") + "\n";
  }
  write(folder / "t.csv", csv);
  const Outcome outcome = init_in(folder, {"--table", "t.csv"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("left out  height: t.csv:5:4: expected a number in column 'height', got 'tall'"));
  EXPECT_THAT(outcome.out, HasSubstr("labels    sick: "));
  const Outcome nothing =
      init_in(folder, {"--table", write(folder / "u.csv", "a,sick\n1,0\n1,1\n").string(), "--force"});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.err,
              HasSubstr("u.csv: no column is left as an input: 'a' (it holds one value only)\n"));
}

TEST(Init, KnowsTheLayoutOfChestXray14) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const Outcome outcome = init_in(folder, {"--table", "phantom/Data_Entry_2017.csv", "--images",
                                           "phantom/images", "--labels", "Mass,Nodule"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(contents(folder / "medfusion.toml"), HasSubstr("\nformat = \"nih\"\n"));
  EXPECT_THAT(contents(folder / "medfusion.toml"), HasSubstr("\nsplit = \"official\"\n"));
  Surroundings there;
  there.folder = folder.path();
  EXPECT_EQ(run_medfusion({"data", "medfusion.toml"}, there).code, 0);
  const Outcome table =
      init_in(folder, {"--table", "phantom/Data_Entry_2017.csv", "--labels", "Mass", "--force"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(contents(folder / "medfusion.toml"), HasSubstr("\nmodalities.image = false\n"));
}

std::string shared_path(const std::string& name) {
  const char* given = std::getenv("MEDFUSION_DATA");
  const fs::path path = (given != nullptr ? fs::path(given) : MEDFUSION_SOURCE_DIR "/../shared/data") / name;
  return fs::exists(path) ? fs::canonical(path).string() : "";
}

TEST(Init, ANewcomerTrainsOnPhotographsOfSkin) {
  const std::string data = shared_path("pad_ufes20");
  if (data.empty()) GTEST_SKIP() << "pad_ufes20 not found: set MEDFUSION_DATA";
  const TemporaryFolder folder;
  const Outcome outcome = init_in(folder, {"--table", data + "/table.csv", "--images", data + "/photo"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* line : {"\npatient   'patient': ", "\nlabels    cancer: ", "\nmissing   UNK: ",
                           "\nleft out  diagnostic, biopsed: called like an outcome ",
                           "\nchannels  3: ", "\nimage     'image': each of its 875 cells names a file "}) {
    EXPECT_THAT("\n" + outcome.out, HasSubstr(line));
  }
  const std::string toml = contents(folder / "medfusion.toml");
  EXPECT_THAT(toml, HasSubstr("targets = [\"diagnostic\", \"biopsed\", "));
  Surroundings there;
  there.folder = folder.path();
  const Outcome trained =
      run_medfusion({"train", "medfusion.toml", "--set", "train.epochs=1", "--set", "data.image_size=32",
                     "--set", "model.branches.pyramid=false", "--set", "model.layers=1"},
                    there);
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_THAT(trained.out, HasSubstr("wrote runs/medfusion"));
}

TEST(Init, LeavesOutcomesOfOtherTablesOut) {
  const std::string data = shared_path("covid_cxr"),
                    table = shared_path("cervical/risk_factors_cervical_cancer.csv");
  if (data.empty() || table.empty()) GTEST_SKIP() << "covid_cxr or cervical not found: set MEDFUSION_DATA";
  const TemporaryFolder folder;
  const Outcome covid = init_in(folder, {"--table", data + "/table.csv", "--images", data + "/img"});
  ASSERT_EQ(covid.code, 0) << covid.err;
  EXPECT_THAT(
      covid.out,
      AllOf(HasSubstr("\nlabels    label_Viral, label_COVID_19, label_Bacterial, label_No_Finding, "
                      "label_ARDS, label_Fungal: "),
            HasSubstr("\npatient   'group': "), HasSubstr("\ntext      'text': "),
            HasSubstr("\nleft out  labels, survival, intubated, intubation_present, went_icu, in_icu: "
                      "called like an outcome ")));
  const Outcome cervical = init_in(folder, {"--table", table, "--out", "cervical.toml"});
  ASSERT_EQ(cervical.code, 0) << cervical.err;
  EXPECT_THAT(cervical.out, HasSubstr("\nlabels    Dx:Cancer, Dx:CIN, Dx:HPV, Dx, Hinselmann, Schiller, "
                                      "Cytology, Biopsy: the last columns of two values"));
  Surroundings there;
  there.folder = folder.path();
  for (const char* config : {"medfusion.toml", "cervical.toml"})
    EXPECT_EQ(run_medfusion({"data", config, "--quiet"}, there).code, 0);
}

}  // namespace
}  // namespace medfusion::tools
