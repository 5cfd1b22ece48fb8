// What the characters of a text are to the tokenizer: a small part of Unicode's tables, so that the same text
// gives the same words on every machine.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace medfusion::data {

enum class CharacterKind {
  separator,  // blanks, punctuation, dashes, symbols, controls, and bytes that are no UTF-8
  letter,     // of a word; combining marks and digits beyond 0 to 9 are letters as well
  digit,      // 0 to 9
  word,       // a word of its own: Han, Kana, Bopomofo, Hangul
  ignored,    // inside words and no part of them: the soft hyphen, joiners, variation selectors
};

CharacterKind kind_of(char32_t character);

// The small letter of a capital one in Latin, Greek, Cyrillic and Armenian script, letters with diacritics
// included; a few letters of African and historical spellings stay as they are. The final sigma and the long
// s become the usual ones, the micro sign a mu.
char32_t folded(char32_t character);

// Reads the character at `position` of UTF-8 text and moves behind it. Full-width forms are read as ASCII. A
// byte that does not belong to a character is U+FFFD, a separator.
char32_t next_character(std::string_view text, size_t& position);

// Appends a character as UTF-8.
void append_character(char32_t character, std::string& text);

}  // namespace medfusion::data
