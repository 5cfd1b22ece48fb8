// The ready configurations of real data: medfusion data shows what is there, and outcomes are refused as
// inputs. Skipped where ../shared/data ($MEDFUSION_DATA) lacks the data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using RealJson = nlohmann::ordered_json;

bool is_there(const std::string& name) {
  const char* given = std::getenv("MEDFUSION_DATA");
  return fs::exists((given != nullptr ? fs::path(given) : MEDFUSION_SOURCE_DIR "/../shared/data") / name);
}

// What a ready configuration reads; the figures were counted in the files without this program.
struct RealData {
  std::string config;  // and the folder of the data
  int64_t rows, patients, repeats;
  std::string positives;              // rows of each label
  std::string missing;                // cells of each input column
  std::string column;                 // an input that holds categories, or none
  std::string categories;             // its rows
  std::vector<std::string> left_out;  // columns, among others
};

const std::vector<RealData> kRealData{
    {"nih1000",
     1000,
     264,
     0,
     "Atelectasis 95, Cardiomegaly 83, Effusion 170, Infiltration 162, Mass 35, Nodule 39, Pneumothorax 40, "
     "Consolidation 42, Edema 31, Emphysema 37, Fibrosis 32, Pleural_Thickening 29",
     "aspect_ratio 0, pixel_spacing 0",
     "",
     "",
     {"Pneumonia", "Hernia"}},
    {"cervical",
     858,
     858,
     27,
     "Hinselmann 35, Schiller 74, Cytology 44, Biopsy 55",
     "Age 0, Number of sexual partners 26, First sexual intercourse 7, Num of pregnancies 56, Smokes 13, "
     "Smokes (years) 13, Smokes (packs/year) 13, Hormonal Contraceptives 108, Hormonal Contraceptives "
     "(years) 108, IUD 117, IUD (years) 117, STDs 105, STDs (number) 105, STDs:condylomatosis 105, "
     "STDs:vaginal condylomatosis 105, STDs:vulvo-perineal condylomatosis 105, STDs:syphilis 105, "
     "STDs:pelvic inflammatory disease 105, STDs:genital herpes 105, STDs:molluscum contagiosum 105, "
     "STDs:HIV 105, STDs:Hepatitis B 105, STDs:HPV 105, STDs: Number of diagnosis 0, STDs: Time since first "
     "diagnosis 787, STDs: Time since last diagnosis 787",
     "",
     "",
     {"STDs:cervical condylomatosis", "STDs:AIDS", "Dx", "Dx:CIN", "Dx:HPV", "Dx:Cancer"}},
    {"pad_ufes20",
     875,
     673,
     1,
     "cancer 338, BCC 259, MEL 46, SCC 33, ACK 181, SEK 140, NEV 216",
     "age 0, sex 338, region 0, fitspatrick 338, diameter_1 338, diameter_2 338, itch 4, grew 141, hurt 5, "
     "changed 139, bleed 2, elevation 2, smoke 338, drink 338, pesticide 338, skin_cancer_history 338, "
     "cancer_history 338, has_piped_water 338, has_sewage_system 338, background_father 388, "
     "background_mother 385",
     "grew",
     "False 302, True 432",
     {"biopsed", "diagnostic", "lesion_id"}},
    {"odir5k",
     6392,
     3356,
     0,
     "eye_N 2873, eye_D 1720, eye_G 313, eye_C 301, eye_A 279, eye_H 192, eye_M 243, eye_O 895",
     "age 0, sex 0, side 0",
     "sex",
     "Female 2968, Male 3424",
     {"keywords", "patient"}},
    {"covid_cxr",
     286,
     155,
     4,
     "label_COVID_19 205, label_Viral 210, label_Bacterial 32, label_ARDS 13, label_Fungal 12, "
     "label_No_Finding 12",
     "age 104, sex 15, view 0",
     "view",
     "AP 33, AP Supine 71, PA 182",
     {"labels", "frontal", "offset_days", "survival", "intubated", "intubation_present", "went_icu", "in_icu",
      "needed_supplemental_O2", "extubated", "temperature", "pO2_saturation", "leukocyte_count",
      "neutrophil_count", "lymphocyte_count", "license", "url", "label_SARS"}}};

class RealDataCommand : public testing::TestWithParam<RealData> {
 protected:
  void SetUp() override {
    if (!is_there(GetParam().config)) GTEST_SKIP() << GetParam().config << " not found: set MEDFUSION_DATA";
  }
};

TEST_P(RealDataCommand, ShowsItWithin60LinesOf120Columns) {
  const Outcome outcome = run_medfusion({"data", GetParam().config});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = lines_of(outcome.out), remarks = lines_of(outcome.err);
  EXPECT_LE(lines.size() + remarks.size(), 60U) << outcome.err;
  for (const std::string& line : lines) EXPECT_LE(line.size(), 120U) << line;
  const std::string left_out = outcome.out.substr(0, outcome.out.find("\ntable "));
  for (const std::string& column : GetParam().left_out) EXPECT_THAT(left_out, HasSubstr(column));
  EXPECT_THAT(outcome.err, Not(HasSubstr("train refuses this")));
}

// "name count, name count"
void add_count(std::string& text, const std::string& name, const RealJson& count) {
  text += (text.empty() ? "" : ", ") + name + " " + count.dump();
}

// With all rows in the training part, the figures are those of the files.
TEST_P(RealDataCommand, CountsWhatIsInTheFiles) {
  const RealData& expected = GetParam();
  const Outcome outcome = run_medfusion({"data", expected.config, "--json", "--set", "data.split=random",
                                         "--set", "data.val_fraction=0", "--set", "data.test_fraction=0"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const RealJson schema = RealJson::parse(outcome.out), &all = schema.at("parts").at("train");
  EXPECT_EQ(all.at("rows"), expected.rows);
  EXPECT_EQ(all.at("patients"), expected.patients);
  EXPECT_EQ(all.at("repeats"), expected.repeats);
  std::string positives, missing, categories;
  for (const auto& [label, counts] : all.at("labels").items())
    add_count(positives, label, counts.at("positive"));
  for (const RealJson& column : schema.at("columns")) {
    if (column.at("role") != "input") continue;
    add_count(missing, column.at("name"), column.at("missing"));
    if (column.at("name") != expected.column) continue;
    for (const RealJson& category : column.at("categories"))
      add_count(categories, category.at("name"), category.at("rows"));
  }
  EXPECT_EQ(positives, expected.positives);
  EXPECT_EQ(missing, expected.missing);
  EXPECT_EQ(categories, expected.categories);
  const RealJson& images = schema.at("images");
  EXPECT_EQ(images.is_null() ? expected.rows : images.at("present").get<int64_t>(), expected.rows);
}

TEST(RealData, WhetherALesionWasBiopsedIsNoInput) {
  if (!is_there("pad_ufes20")) GTEST_SKIP() << "pad_ufes20 not found: set MEDFUSION_DATA";
  const TemporaryFolder folder;
  const std::string named = "data.table=age,biopsed";
  const Outcome refused =
      run_medfusion({"train", "pad_ufes20", "--out", (folder / "run").string(), "--set", named});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("guard: column 'biopsed' is a target and must not be an input"));
  EXPECT_FALSE(fs::exists(folder / "run"));
  EXPECT_THAT(run_medfusion({"data", "pad_ufes20", "--set", named}).err,
              HasSubstr("warning: train refuses this: "));
}

INSTANTIATE_TEST_SUITE_P(Of, RealDataCommand, testing::ValuesIn(kRealData),
                         [](const auto& each) { return each.param.config; });

}  // namespace
}  // namespace medfusion::tools
