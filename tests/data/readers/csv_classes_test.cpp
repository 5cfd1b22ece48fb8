#include "data/readers/csv_classes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/labels.h"
#include "data/leakage.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CsvClasses : public testing::Test {
 protected:
  Dataset read(const std::string& text, CsvOptions options) {
    options.file = folder_.write("classes.csv", text);
    return read_csv_folder(options);
  }
  Dataset words(const std::string& text, const std::vector<std::string>& labels = {}) {
    CsvOptions options;
    options.class_column = "kind";
    options.labels = labels;
    return read(text, options);
  }
  TemporaryFolder folder_;
};

std::vector<double> targets_in(const Dataset& data) {
  std::vector<double> values;
  for (int64_t i = 0; i < data.targets.numel(); ++i) values.push_back(data.targets.at(i));
  return values;
}

TEST_F(CsvClasses, EachWordIsALabel) {
  const Dataset data = words("x,kind\n1,nevus\n2,acne\n3,nevus\n4,wart\n");
  EXPECT_TRUE(data.exclusive);
  EXPECT_THAT(data.labels, ElementsAre("acne", "nevus", "wart"));
  EXPECT_THAT(targets_in(data), ElementsAre(0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1));
  ASSERT_EQ(data.columns.size(), 1U);  // the words are no input
  EXPECT_EQ(data.columns[0].name, "x");
  EXPECT_THAT(data.notes,
              testing::Contains("column 'kind' has 3 words, each of which is a label: acne (1 row), "
                                "nevus (2 rows), wart (1 row)"));
}

TEST_F(CsvClasses, AnInputMayBeCalledLikeAWord) {
  const Dataset data = words("acne,kind\n1,nevus\n2,acne\n3,nevus\n4,wart\n");
  check_inputs(data, {});
}

TEST_F(CsvClasses, LabelsGiveTheOrderAndMayHaveNoRow) {
  const Dataset data = words("x,kind\n1,b\n2,a\n", {"b", "c", "a"});
  EXPECT_THAT(data.labels, ElementsAre("b", "c", "a"));
  EXPECT_THAT(targets_in(data), ElementsAre(1, 0, 0, 0, 0, 1));
}

TEST_F(CsvClasses, WordsThatAreTheSameNumberAreOneClass) {
  const std::string csv = "x,kind\n1,2\n2,1.0\n3,1\n4,2.0\n";
  EXPECT_THAT(words(csv).labels, ElementsAre("1.0", "2"));
  const Dataset data = words(csv, {"1", "2"});
  EXPECT_THAT(data.labels, ElementsAre("1", "2"));
  EXPECT_THAT(targets_in(data), ElementsAre(0, 1, 1, 0, 1, 0, 0, 1));
}

TEST_F(CsvClasses, AMissingWordIsUnknownAndAnotherIsRefused) {
  const Dataset data = words("x,kind\n1,b\n2,NA\n3,a\n");
  EXPECT_THAT(data.labels, ElementsAre("a", "b"));
  for (const int64_t i : {2, 3}) EXPECT_TRUE(std::isnan(data.targets.at(i))) << i;
  EXPECT_THAT(
      input_error([&] {
        words("x,kind\n1,b\n2,d\n", {"a", "b"});
      }),
      HasSubstr("classes.csv:3:3: expected one of the 2 labels (data.labels) in column 'kind', got 'd'"));
  EXPECT_THAT(input_error([&] { words("x,kind\n1,b\n2,b\n"); }),
              HasSubstr("expected 2 to 1000 different words in column 'kind' (data.class_column), got 1"));
}

TEST_F(CsvClasses, ColumnsThatExcludeEachOther) {
  CsvOptions options;
  options.labels = {"A", "B"};
  options.exclusive = true;
  EXPECT_TRUE(read("x,A,B\n1,1,0\n2,,\n3,0,1\n4,0,\n", options).exclusive);
  EXPECT_THAT(
      input_error([&] { read("x,A,B\n1,1,0\n2,1,1\n", options); }),
      HasSubstr("classes.csv:3:3: expected exactly one of the 2 labels to be 1 (data.exclusive), got 2"));
  EXPECT_THAT(input_error([&] { read("x,A,B\n1,0,0\n", options); }), HasSubstr("got 0"));
  options.exclusive = false;
  EXPECT_FALSE(read("x,A,B\n1,0,0\n", options).exclusive);
}

TEST_F(CsvClasses, LineEndsInWordsAreRefused) {
  Dataset data = words("x,kind\n1,a\n2,\"b\nc\"\n");
  EXPECT_EQ(input_error([&] { select_labels(data, {}, 0, "f"); }),
            "f: expected labels without line ends, got \"b\\nc\"");
}

TEST_F(CsvClasses, SomeOfTheLabelsDoNotExcludeEachOther) {
  Dataset data = words("x,kind\n1,a\n2,b\n3,c\n");
  data.notes.clear();
  Dataset all = data;
  select_labels(all, {"c", "a", "b"}, 0, "f");
  EXPECT_TRUE(all.exclusive);
  EXPECT_THAT(all.notes, IsEmpty());
  select_labels(data, {"a", "b"}, 0, "f");
  EXPECT_FALSE(data.exclusive);
  EXPECT_THAT(data.notes,
              ElementsAre("1 of 3 rows have none of the chosen labels, which are taken as independent"));
}

}  // namespace
}  // namespace medfusion::data
