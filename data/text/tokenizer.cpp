#include "data/text/tokenizer.h"

#include <algorithm>
#include <map>

#include "data/text/characters.h"

namespace medfusion::data {
namespace {

constexpr const char* kUnicodeRules = "unicode";

}  // namespace

std::vector<std::string> split_words(std::string_view text, WordRules rules) {
  const bool bytes = rules == WordRules::ascii;
  const auto read = [&](size_t& at) {
    return bytes ? static_cast<unsigned char>(text[at++]) : next_character(text, at);
  };
  const auto kind_in = [&](char32_t c) { return bytes && c >= 0x80 ? CharacterKind::letter : kind_of(c); };
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  CharacterKind last = CharacterKind::separator;
  bool point = false;  // the word is a number and has its decimal point
  for (size_t i = 0; i < text.size();) {
    const char32_t c = read(i);
    CharacterKind kind = kind_in(c);
    if (kind == CharacterKind::ignored) continue;
    size_t next = i;
    const bool decimal = c == '.' && last == CharacterKind::digit && !point && i < text.size() &&
                         kind_in(read(next)) == CharacterKind::digit;
    if (decimal) kind = CharacterKind::digit;
    if (kind != last || kind == CharacterKind::word) end_word();
    point = decimal || (point && !word.empty());
    last = kind;
    if (kind == CharacterKind::separator) continue;
    if (bytes && c >= 0x80) {
      word += static_cast<char>(c);
    } else {
      append_character(folded(c), word);
    }
  }
  end_word();
  return words;
}

Tokenizer Tokenizer::fit(const std::vector<std::string>& texts, const std::vector<int64_t>& rows,
                         int64_t min_count, int64_t max_length) {
  MEDFUSION_CHECK(max_length >= 1, "Tokenizer: max_length of at least 1, got {}", max_length);
  Tokenizer tokenizer;
  tokenizer.max_length_ = max_length;
  std::map<std::string, int64_t> counts;
  for (const int64_t row : rows) {
    MEDFUSION_CHECK(row >= 0 && row < static_cast<int64_t>(texts.size()), "Tokenizer: row {} of {} texts",
                    row, texts.size());
    for (std::string& word : tokenizer.words_of(texts[static_cast<size_t>(row)])) ++counts[std::move(word)];
  }
  std::vector<std::pair<std::string, int64_t>> frequent;
  for (const auto& entry : counts) {
    if (entry.second >= min_count) frequent.push_back(entry);
  }
  std::stable_sort(frequent.begin(), frequent.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
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
    const std::vector<std::string> words = words_of(text);
    const size_t count = std::min(words.size(), static_cast<size_t>(max_length_));
    for (size_t i = 0; i < count; ++i) {
      const auto found = tokens_.find(words[i]);
      row[i] = found == tokens_.end() ? kUnknownToken : found->second;
    }
    row += max_length_;
  }
  return tokens;
}

nlohmann::json Tokenizer::to_json() const {
  nlohmann::json json = {{"max_length", max_length_}, {"words", words_}};
  if (rules_ == WordRules::unicode) json["rules"] = kUnicodeRules;
  return json;
}

Tokenizer Tokenizer::from_json(const nlohmann::json& json, const std::string& file) {
  Tokenizer tokenizer;
  try {
    tokenizer.max_length_ = json.at("max_length").get_ref<const int64_t&>();  // no fraction
    tokenizer.words_ = json.at("words").get<std::vector<std::string>>();
    const std::string rules = json.value("rules", "");
    if (!rules.empty() && rules != kUnicodeRules)
      core::throw_input_error({file}, "expected the rules unicode or none for words, got '{}'", rules);
    tokenizer.rules_ = rules.empty() ? WordRules::ascii : WordRules::unicode;
  } catch (const nlohmann::json::exception& error) {
    core::throw_input_error({file}, "expected a tokenizer: {}", error.what());
  }
  if (tokenizer.max_length_ < 1 || tokenizer.max_length_ > kMostTextWords) {
    core::throw_input_error({file}, "expected a max_length in [1, {}], got {}", kMostTextWords,
                            tokenizer.max_length_);
  }
  tokenizer.index_words();
  return tokenizer;
}

}  // namespace medfusion::data
