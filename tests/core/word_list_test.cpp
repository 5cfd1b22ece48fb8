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

}  // namespace
}  // namespace medfusion::core
