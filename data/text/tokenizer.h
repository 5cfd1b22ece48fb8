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

// How texts are cut into words. A run keeps what its vocabulary was made with.
enum class WordRules : uint8_t {
  ascii,    // of earlier versions: every byte beyond ASCII is a letter and stays as it is
  unicode,  // data/text/characters.h
};

// The words of a text: runs of letters, made small; numbers (digits, with a decimal point between digits);
// and characters that are words. Anything else separates. ASCII texts have the same words by both rules.
std::vector<std::string> split_words(std::string_view text, WordRules rules = WordRules::unicode);

inline constexpr int64_t kMostTextWords = 4096;  // that a network may read of a text

struct TextOptions {
  int64_t length = 16;
  int64_t min_count = 2;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("text_length", length, Range::in(1, kMostTextWords),
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

  // The words of a text by the rules of this vocabulary.
  std::vector<std::string> words_of(std::string_view text) const { return split_words(text, rules_); }

  // [n, max_length] i64: the first max_length words of each text, then kPaddingToken.
  core::Tensor encode(const std::vector<std::string>& texts) const;

  // Without "rules" in the JSON, of an earlier version, they are WordRules::ascii.
  nlohmann::json to_json() const;
  // Throws core::InputError naming `file` where the content is not that of to_json().
  static Tokenizer from_json(const nlohmann::json& json, const std::string& file);

 private:
  void index_words();

  int64_t max_length_ = 1;
  WordRules rules_ = WordRules::unicode;
  std::vector<std::string> words_;
  std::unordered_map<std::string, int64_t> tokens_;
};

}  // namespace medfusion::data
