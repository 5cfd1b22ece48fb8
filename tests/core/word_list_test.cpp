#include "core/word_list.h"

#include <gtest/gtest.h>

#include <vector>

namespace medfusion::core {
namespace {

TEST(WordList, NamesTheFirstAndCountsTheRest) {
  const std::vector<std::string> words{"a", "b", "c"};
  EXPECT_EQ(list_words(words, 3), "a, b, c");
  EXPECT_EQ(list_words(words, 4, "'"), "'a', 'b', 'c'");
  EXPECT_EQ(list_words(words, 2, "'"), "'a', 'b' and 1 more");
  EXPECT_EQ(list_words(words, 1), "a and 2 more");
  EXPECT_EQ(list_words({}, 3), "");
}

TEST(WordList, CountsInTheSingularAndThePlural) {
  EXPECT_EQ(count_of(0, "row"), "0 rows");
  EXPECT_EQ(count_of(1, "row"), "1 row");
  EXPECT_EQ(count_of(2, "row"), "2 rows");
}

}  // namespace
}  // namespace medfusion::core
