// Lists of words in messages, all of one form.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace medfusion::core {

// The first `most` words with commas between them, and how many more there are: "a, b and 2 more". `quote`
// stands on both sides of each.
std::string list_words(std::span<const std::string> words, size_t most, std::string_view quote = "");

}  // namespace medfusion::core
