#include "data/text/tokenizer.h"

#include <algorithm>
#include <map>

namespace medfusion::data {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (static_cast<unsigned char>(c) & 0x80U) != 0;
}

}  // namespace

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (is_digit(text[i])) {
      while (i < text.size() && is_digit(text[i])) ++i;
      if (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) {
        ++i;
        while (i < text.size() && is_digit(text[i])) ++i;
      }
    } else if (is_letter(text[i])) {
      while (i < text.size() && is_letter(text[i])) ++i;
    } else {
      ++i;
      continue;
    }
    std::string word(text.substr(start, i - start));
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    words.push_back(std::move(word));
  }
  return words;
}

Tokenizer Tokenizer::fit(const std::vector<std::string>& texts, const std::vector<int64_t>& rows,
                         int64_t min_count, int64_t max_length) {
  MEDFUSION_CHECK(max_length >= 1, "Tokenizer: max_length of at least 1, got {}", max_length);
  std::map<std::string, int64_t> counts;
  for (const int64_t row : rows) {
    MEDFUSION_CHECK(row >= 0 && row < static_cast<int64_t>(texts.size()), "Tokenizer: row {} of {} texts",
                    row, texts.size());
    for (std::string& word : split_words(texts[static_cast<size_t>(row)])) ++counts[std::move(word)];
  }
  std::vector<std::pair<std::string, int64_t>> frequent;
  for (const auto& entry : counts) {
    if (entry.second >= min_count) frequent.push_back(entry);
  }
  std::stable_sort(frequent.begin(), frequent.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  Tokenizer tokenizer;
  tokenizer.max_length_ = max_length;
  for (auto& [word, count] : frequent) tokenizer.words_.push_back(std::move(word));
  tokenizer.index_words();
  return tokenizer;
}

void Tokenizer::index_words() {
  for (size_t i = 0; i < words_.size(); ++i) tokens_[words_[i]] = static_cast<int64_t>(i) + 2;
}

core::Tensor Tokenizer::encode(const std::vector<std::string>& texts) const {
  core::Tensor tokens = core::Tensor::full({static_cast<int64_t>(texts.size()), max_length_},
                                           static_cast<double>(kPaddingToken), core::DType::i64);
  int64_t* row = tokens.data<int64_t>();
  for (const std::string& text : texts) {
    const std::vector<std::string> words = split_words(text);
    const size_t count = std::min(words.size(), static_cast<size_t>(max_length_));
    for (size_t i = 0; i < count; ++i) {
      const auto found = tokens_.find(words[i]);
      row[i] = found == tokens_.end() ? kUnknownToken : found->second;
    }
    row += max_length_;
  }
  return tokens;
}

nlohmann::json Tokenizer::to_json() const { return {{"max_length", max_length_}, {"words", words_}}; }

Tokenizer Tokenizer::from_json(const nlohmann::json& json, const std::string& file) {
  Tokenizer tokenizer;
  try {
    tokenizer.max_length_ = json.at("max_length").get<int64_t>();
    tokenizer.words_ = json.at("words").get<std::vector<std::string>>();
  } catch (const nlohmann::json::exception& error) {
    core::throw_input_error({file}, "expected a tokenizer: {}", error.what());
  }
  if (tokenizer.max_length_ < 1) {
    core::throw_input_error({file}, "expected a max_length of at least 1, got {}", tokenizer.max_length_);
  }
  tokenizer.index_words();
  return tokenizer;
}

}  // namespace medfusion::data
