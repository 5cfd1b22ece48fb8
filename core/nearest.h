// "Did you mean": the known name closest to a mistyped one.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace medfusion::core {

// Levenshtein, with swaps of neighbors, ignoring ASCII case.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest edit distance to `word`, the first of equals; empty where none is closer
// than half the length of the longer word.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// "; did you mean 'X'?", or nothing where no candidate is close. For the end of an error message.
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

}  // namespace medfusion::core
