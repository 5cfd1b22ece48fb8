#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "data/table/table_encoder.h"
#include "data/text/tokenizer.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// Rows 0 to 3 train; row 4 holds what training did not see.
std::vector<Column> columns() {
  return {{"age", true, {10, 20, kMissing, 60, 1000}, {}},
          {"sex", false, {}, {"M", "F", "M", "", "X"}},
          {"site", false, {}, {"b", "c", "a", "c", "d"}},
          {"flat", true, {0.1, 0.1, 0.1, kMissing, 7}, {}},
          {"one", false, {}, {"x", "x", "x", "", "y"}},
          {"none", true, {kMissing, kMissing, kMissing, kMissing, 3}, {}}};
}
const std::vector<int64_t> kTrainRows = {0, 1, 2, 3};

// One row of the encoded table: values, NaN where missing.
std::vector<double> row_of(const core::Table& table, int64_t row) {
  std::vector<double> values;
  const int64_t width = table.values.size(1);
  for (int64_t i = 0; i < width; ++i) {
    const bool missing = table.missing.data<bool>()[row * width + i];
    const double value = table.values.at(row * width + i);
    if (missing) {
      EXPECT_EQ(value, 0.0);
    }
    values.push_back(missing ? kMissing : value);
  }
  return values;
}

TEST(TableEncoder, StandardizesNumbersAndSplitsCategories) {
  const TableEncoder encoder = TableEncoder::fit(columns(), kTrainRows);
  EXPECT_THAT(encoder.feature_names(),
              ElementsAre("age", "sex=M", "site=a", "site=b", "site=c", "flat", "one", "none"));
  const core::Table table = encoder.encode(columns());
  ASSERT_EQ(table.values.shape(), (core::Shape{5, 8}));
  ASSERT_EQ(table.missing.dtype(), core::DType::boolean);
  const double scale = std::sqrt((20.0 * 20 + 10.0 * 10 + 30.0 * 30) / 3);  // around the mean 30
  const auto near = [](double value) { return testing::NanSensitiveDoubleNear(value, 1e-6); };
  EXPECT_THAT(row_of(table, 0), ElementsAre(near(-20 / scale), 1, 0, 1, 0, 0, 0, near(kMissing)));
  EXPECT_THAT(row_of(table, 1), ElementsAre(near(-10 / scale), 0, 0, 0, 1, 0, 0, near(kMissing)));
  EXPECT_THAT(row_of(table, 2), ElementsAre(near(kMissing), 1, 1, 0, 0, 0, 0, near(kMissing)));
  EXPECT_THAT(row_of(table, 3), ElementsAre(near(30 / scale), near(kMissing), 0, 0, 1, near(kMissing),
                                            near(kMissing), near(kMissing)));
  EXPECT_THAT(row_of(table, 4),
              ElementsAre(testing::DoubleNear(970 / scale, 1e-4), near(kMissing), near(kMissing),
                          near(kMissing), near(kMissing), 0, near(kMissing), 0));
}

// Where training had a value in every row, a cell without one takes several of them in turn.
TEST(TableEncoder, GapsAreFilledWithValuesOfTraining) {
  std::vector<Column> table{{"sex", false, {}, {}}, {"age", true, {}, {}}, {"smokes", false, {}, {}}};
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < 80; ++row) {
    rows.push_back(row);
    table[0].categories.emplace_back(row % 4 == 0 ? "F" : "M");
    table[1].numbers.push_back(static_cast<double>(row));
    table[2].categories.emplace_back(row % 3 == 0 ? "" : row % 3 == 1 ? "no" : "yes");
  }
  const TableEncoder fitted = TableEncoder::fit(table, rows);
  const std::vector<Column> asked{{"sex", false, {}, {"", "M", "X", "F"}},
                                  {"age", true, {7, kMissing, 7, 7}, {}},
                                  {"smokes", false, {}, {"no", "no", "no", ""}}};
  const auto json = nlohmann::json::parse(fitted.to_json().dump());
  for (const TableEncoder& encoder : {fitted, TableEncoder::from_json(json, "p.json")}) {
    EXPECT_THAT(encoder.gaps(asked, {0, 1, 2}), ElementsAre(true, true, true, false));
    EXPECT_THAT(encoder.gaps(asked, {1}), ElementsAre(false, true, false, false));
    std::vector<std::string> words;
    std::vector<double> ages;
    for (int64_t draw = 0; draw < TableEncoder::kDraws; ++draw) {
      const auto filled = encoder.fill_gaps(asked, draw);
      words.push_back(filled[0].categories[0]);
      EXPECT_EQ(filled[0].categories[2], words.back());
      EXPECT_EQ(filled[0].categories[1], "M");
      ages.push_back(filled[1].numbers[1]);
      EXPECT_EQ(filled[1].numbers[0], 7);
      EXPECT_THAT(filled[2].categories, ElementsAre("no", "no", "no", ""));
    }
    EXPECT_THAT(words, testing::UnorderedElementsAre("F", "F", "M", "M", "M", "M", "M", "M"));
    EXPECT_THAT(ages, testing::UnorderedElementsAre(5, 15, 25, 35, 45, 55, 65, 75));
  }
  auto older = json;  // a run of an earlier version has no draws
  for (auto& column : older["columns"]) column.erase("draws");
  EXPECT_THAT(TableEncoder::from_json(older, "p.json").gaps(asked, {0, 1, 2}), testing::Each(false));
  auto damaged = json;
  damaged["columns"][0]["draws"][3] = 2;
  EXPECT_THAT(input_error([&] { TableEncoder::from_json(damaged, "p.json"); }),
              HasSubstr("p.json: expected 8 draws of 'sex' from its values"));
}

TEST(TableEncoder, ConstantsEncodeToZeroHoweverTheirMeanRounds) {
  const std::vector<double> constant(10, 0.1);  // ten tenths of 0.1 add up to less than 0.1
  std::vector<Column> table = {{"flat", true, constant, {}}};
  const TableEncoder encoder = TableEncoder::fit(table, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  table[0].numbers[9] = 7;
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(encoder.encode(table).values.at(i), 0.0) << i;
}

TEST(TableEncoder, LogColumnsAreStandardizedLogarithms) {
  const std::vector<Column> table = {{"visits", true, {0, 1, 3, -1, kMissing}, {}}};
  const TableEncoder fitted = TableEncoder::fit(table, {0, 1, 2}, {"visits"});
  const auto encoder = TableEncoder::from_json(nlohmann::json::parse(fitted.to_json().dump()), "table.json");
  const double unit = std::log(2.0), scale = unit * std::sqrt(2.0 / 3);  // log(1 + x) is 0, 1 and 2 units
  const core::Table encoded = encoder.encode(table);
  EXPECT_NEAR(encoded.values.at(0), -unit / scale, 1e-6);
  EXPECT_NEAR(encoded.values.at(1), 0.0, 1e-6);
  EXPECT_NEAR(encoded.values.at(2), unit / scale, 1e-6);
  EXPECT_NEAR(encoded.values.at(3), -2 * unit / scale, 1e-6);
  EXPECT_TRUE(encoded.missing.data<bool>()[4]);
  EXPECT_EQ(input_error([&] { TableEncoder::fit(table, {0}, {"visit"}); }),
            "log_columns: the table has no numeric column 'visit'");
}

TEST(TableEncoder, LearnsFromTheTrainingRowsOnly) {
  std::vector<Column> changed = columns();
  changed[0].numbers[4] = -1e6;
  changed[2].categories[4] = "q";
  EXPECT_EQ(TableEncoder::fit(changed, kTrainRows).to_json(),
            TableEncoder::fit(columns(), kTrainRows).to_json());
  EXPECT_NE(TableEncoder::fit(columns(), {0, 1}).to_json(),
            TableEncoder::fit(columns(), kTrainRows).to_json());
}

TEST(TableEncoder, ColumnsAreFoundByName) {
  const TableEncoder encoder = TableEncoder::fit(columns(), kTrainRows);
  std::vector<Column> turned = columns();
  std::reverse(turned.begin(), turned.end());
  const core::Table a = encoder.encode(columns());
  const core::Table b = encoder.encode(turned);
  for (int64_t i = 0; i < a.values.numel(); ++i) EXPECT_EQ(a.values.at(i), b.values.at(i));
  turned.pop_back();
  EXPECT_EQ(input_error([&] { encoder.encode(turned); }), "the table has no column 'age'");
}

// Whatever a file looks like, the kinds and words of training hold.
TEST(TableEncoder, ColumnsAreReadAsTrainingReadThem) {
  const std::vector<Column> trained = {{"age", true, {40, 60}, {}}, {"stage", false, {}, {"1", "2"}}};
  const auto fitted = TableEncoder::fit(trained, {0, 1});
  const auto encoder = TableEncoder::from_json(nlohmann::json::parse(fitted.to_json().dump()), "t.json");
  const std::vector<Column> given = {{"other", false, {}, {"x", "y", "z"}},
                                     {"stage", true, {2, 1, 3}, {}},
                                     {"age", false, {}, {"60.0", "old", ""}}};
  std::vector<std::string> notes;
  const std::vector<Column> read = encoder.as_trained(given, notes);
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].numbers[0], 60.0);
  EXPECT_TRUE(std::isnan(read[0].numbers[1]) && std::isnan(read[0].numbers[2]));
  EXPECT_THAT(read[1].categories, ElementsAre("2", "1", "3"));
  EXPECT_THAT(notes,
              ElementsAre("column 'age': 1 of 3 cells hold no number, read as missing, such as 'old'"));
  const core::Table direct = encoder.encode(given), after = encoder.encode(read);
  for (int64_t i = 0; i < direct.values.numel(); ++i) {
    EXPECT_EQ(direct.values.at(i), after.values.at(i));
    EXPECT_EQ(direct.missing.at(i), after.missing.at(i));
  }
}

TEST(TableEncoder, JsonGivesTheSameEncoder) {
  const TableEncoder encoder = TableEncoder::fit(columns(), kTrainRows);
  const std::string text = encoder.to_json().dump();
  const TableEncoder again = TableEncoder::from_json(nlohmann::json::parse(text), "table.json");
  EXPECT_EQ(again.feature_names(), encoder.feature_names());
  const core::Table a = encoder.encode(columns());
  const core::Table b = again.encode(columns());
  for (int64_t i = 0; i < a.values.numel(); ++i) {
    EXPECT_EQ(a.values.at(i), b.values.at(i));
    EXPECT_EQ(a.missing.at(i), b.missing.at(i));
  }
  EXPECT_THAT(input_error([] {
                TableEncoder::from_json({{"columns", {{{"name", "age"}}}}}, "table.json");
              }),
              HasSubstr("table.json: expected the encoder of a table"));
}

std::string u8s(const char8_t* text) { return reinterpret_cast<const char*>(text); }

TEST(Tokenizer, SplitsWordsAndNumbers) {
  EXPECT_THAT(split_words("58-Year old, T2.5N0 (PA).  3. \xC3\x84"
                          "DER x_y"),
              ElementsAre("58", "year", "old", "t", "2.5", "n", "0", "pa", "3",
                          "\xC3\xA4"
                          "der",
                          "x", "y"));
  EXPECT_THAT(split_words(""), ElementsAre());
}

TEST(Tokenizer, SplitsByUnicode) {
  // No-break space, thin space, dash, minus sign, guillemets, full-width comma, ideographic full stop.
  EXPECT_THAT(split_words(u8s(u8"a\u00A0b\u2009c\u2010d\u2015e\u2212f \u00ABg\u00BB\uFF0Ch\u3002i\u2019s")),
              ElementsAre("a", "b", "c", "d", "e", "f", "g", "h", "i", "s"));
  EXPECT_THAT(split_words(u8s(u8"ÉTUDE na\u00EFve Stra\u00DFe Łódź ŽŠ Ÿ İ")),
              ElementsAre(u8s(u8"étude"), u8s(u8"naïve"), u8s(u8"straße"), u8s(u8"łódź"), u8s(u8"žš"),
                          u8s(u8"ÿ"), "i"));
  EXPECT_THAT(split_words(u8s(u8"ΚΑΡΔΙΆΣ Лёгкие ЁЖ Ệ")),
              ElementsAre(u8s(u8"καρδιάσ"), u8s(u8"лёгкие"), u8s(u8"ёж"), u8s(u8"ệ")));
  EXPECT_THAT(split_words(u8s(u8"肺炎CT３.５ｃｍ かな한글")),
              ElementsAre(u8s(u8"肺"), u8s(u8"炎"), "ct", "3.5", "cm", u8s(u8"か"), u8s(u8"な"), u8s(u8"한"),
                          u8s(u8"글")));
  EXPECT_THAT(split_words(u8s(u8"car\u00ADcinoma \uFEFFx e\u0301 Ж\u2060ук 5\u00B0C")),
              ElementsAre("carcinoma", "x", u8s(u8"e\u0301"), u8s(u8"жук"), "5", "c"));
  EXPECT_THAT(split_words("a\xFF"
                          "b\xC3"),
              ElementsAre("a", "b"));  // no UTF-8
}

// Every ASCII text has the same words by the rules of earlier versions.
TEST(Tokenizer, AsciiTextsHaveTheSameWordsByBothRules) {
  core::Generator generator(3);
  for (int text = 0; text < 2000; ++text) {
    std::string letters;
    for (int i = 0; i < 24; ++i) letters += "aB z.-,0 19.\t_"[static_cast<size_t>(generator.below(15))];
    EXPECT_EQ(split_words(letters), split_words(letters, WordRules::ascii)) << letters;
  }
  EXPECT_THAT(split_words("1.5.2 .5 3. 1..2 v2.0", WordRules::ascii),
              ElementsAre("1.5", "2", "5", "3", "1", "2", "v", "2.0"));
}

// A vocabulary of an earlier version keeps the words that it was made of.
TEST(Tokenizer, OldVocabulariesKeepTheirRules) {
  const std::string text = u8s(u8"膈面，Är");
  nlohmann::json json = Tokenizer::fit({text}, {0}, 1, 8).to_json();
  EXPECT_EQ(Tokenizer::from_json(json, "p.json").words_of(text).size(), 3U);
  json.erase("rules");
  EXPECT_THAT(Tokenizer::from_json(json, "p.json").words_of(text), ElementsAre(u8s(u8"膈面，Är")));
  EXPECT_EQ(Tokenizer::from_json(json, "p.json").to_json(), json);
  json["rules"] = "bytes";
  EXPECT_EQ(input_error([&] { Tokenizer::from_json(json, "p.json"); }),
            "p.json: expected the rules unicode or none for words, got 'bytes'");
}

TEST(Tokenizer, KeepsFrequentWordsOfTheTrainingRows) {
  const std::vector<std::string> texts = {"b a a", "c B", "c d", "z z z z"};
  const Tokenizer tokenizer = Tokenizer::fit(texts, {0, 1, 2}, 2, 4);
  EXPECT_THAT(tokenizer.words(),
              ElementsAre("a", "b", "c"));  // all twice: byte order; d once; z not in training
  EXPECT_EQ(tokenizer.vocabulary_size(), 5);
  const core::Tensor tokens = tokenizer.encode({"A c", "z b d a c", ""});
  ASSERT_EQ(tokens.shape(), (core::Shape{3, 4}));
  const std::vector<int64_t> expected = {2, 4, 0, 0, 1, 3, 1, 2, 0, 0, 0, 0};
  EXPECT_EQ(std::vector<int64_t>(tokens.data<int64_t>(), tokens.data<int64_t>() + 12), expected);
  EXPECT_THAT(Tokenizer::fit(texts, {0, 1, 2, 3}, 2, 4).words(), ElementsAre("z", "a", "b", "c"));
}

TEST(Tokenizer, JsonGivesTheSameTokenizer) {
  const Tokenizer tokenizer = Tokenizer::fit({"b a a"}, {0}, 1, 3);
  const Tokenizer again =
      Tokenizer::from_json(nlohmann::json::parse(tokenizer.to_json().dump()), "words.json");
  EXPECT_EQ(again.words(), tokenizer.words());
  EXPECT_EQ(again.max_length(), 3);
  EXPECT_EQ(again.encode({"a b"}).at(0), tokenizer.encode({"a b"}).at(0));
  EXPECT_THAT(input_error([] {
                Tokenizer::from_json({{"words", {"a"}}}, "words.json");
              }),
              HasSubstr("words.json: expected a tokenizer"));
  EXPECT_THAT(input_error([] {
                Tokenizer::from_json({{"words", {"a"}}, {"max_length", 1.5}}, "words.json");
              }),
              HasSubstr("words.json: expected a tokenizer"));
  EXPECT_EQ(input_error([] {
              Tokenizer::from_json({{"words", {"a"}}, {"max_length", 0}}, "words.json");
            }),
            "words.json: expected a max_length in [1, 4096], got 0");
  EXPECT_EQ(input_error([] {
              Tokenizer::from_json({{"words", {"a"}}, {"max_length", int64_t{1} << 40}}, "words.json");
            }),
            "words.json: expected a max_length in [1, 4096], got 1099511627776");
}

}  // namespace
}  // namespace medfusion::data
