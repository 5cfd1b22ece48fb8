// Words to numbers: a vocabulary made of the training rows.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/settings.h"
#include "core/tensor.h"

namespace medfusion::data {

inline constexpr int64_t kPaddingToken = 0;
inline constexpr int64_t kUnknownToken = 1;

// The words of a text: runs of letters (ASCII upper case made lower; all bytes of UTF-8 sequences are
// letters, left as they are) and numbers (digits, with a decimal point between digits). Anything else
// separates.
std::vector<std::string> split_words(std::string_view text);

struct TextOptions {
  int64_t length = 16;
  int64_t min_count = 2;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("text_length", length, Range::in(1, 4096),
          "Number of words that the network reads of a text; further words are cut off.");
    visit("text_min_count", min_count, Range::at_least(1),
          "A word enters the vocabulary if the training part has it at least this often.");
  }
};

class Tokenizer {
 public:
  // Takes the words that occur at least `min_count` times in `rows` of the texts, the most frequent first and
  // words equally frequent in byte order. max_length: tokens per text, at least 1.
  static Tokenizer fit(const std::vector<std::string>& texts, const std::vector<int64_t>& rows,
                       int64_t min_count, int64_t max_length);

  // Words, padding and unknown.
  int64_t vocabulary_size() const { return static_cast<int64_t>(words_.size()) + 2; }
  int64_t max_length() const { return max_length_; }
  // Words without padding and unknown: word i is token i + 2.
  const std::vector<std::string>& words() const { return words_; }

  // [n, max_length] i64: the first max_length words of each text, then kPaddingToken.
  core::Tensor encode(const std::vector<std::string>& texts) const;

  nlohmann::json to_json() const;
  // Throws core::InputError naming `file` where the content is not that of to_json().
  static Tokenizer from_json(const nlohmann::json& json, const std::string& file);

 private:
  void index_words();

  int64_t max_length_ = 1;
  std::vector<std::string> words_;
  std::unordered_map<std::string, int64_t> tokens_;
};

}  // namespace medfusion::data
