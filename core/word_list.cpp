#include "core/word_list.h"

#include <algorithm>

namespace medfusion::core {

std::string list_words(std::span<const std::string> words, size_t most, std::string_view quote) {
  std::string text;
  for (const std::string& word : words.first(std::min(most, words.size()))) {
    if (!text.empty()) text += ", ";
    text.append(quote).append(word).append(quote);
  }
  if (words.size() > most) text += " and " + std::to_string(words.size() - most) + " more";
  return text;
}

std::string count_of(int64_t count, std::string_view word) {
  return std::to_string(count).append(" ").append(word).append(count == 1 ? "" : "s");
}

}  // namespace medfusion::core
