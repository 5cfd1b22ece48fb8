// Lists and numbers of words in messages, all of one form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace medfusion::core {

// The first `most` words with commas between them, and how many more there are: "a, b and 2 more". `quote`
// stands on both sides of each.
std::string list_words(std::span<const std::string> words, size_t most, std::string_view quote = "");

// "1 row", "2 rows".
std::string count_of(int64_t count, std::string_view word);

}  // namespace medfusion::core
