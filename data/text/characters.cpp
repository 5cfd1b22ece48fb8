#include "data/text/characters.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

namespace medfusion::data {
namespace {

struct Range {
  char32_t first, last;
};

constexpr char32_t kReplacement = 0xFFFD;

// Beyond ASCII, ascending; what is in none of the three lists is a letter.
constexpr Range kSeparatorCharacters[] = {
    {0x80, 0xA9},     {0xAB, 0xAC},     {0xAE, 0xB4},     {0xB6, 0xB9},      {0xBB, 0xBF},
    {0xD7, 0xD7},     {0xF7, 0xF7},     {0x2C2, 0x2C5},   {0x37E, 0x37E},    {0x387, 0x387},
    {0x55A, 0x55F},   {0x589, 0x58F},   {0x5BE, 0x5BE},   {0x5C0, 0x5C0},    {0x5C3, 0x5C3},
    {0x5C6, 0x5C6},   {0x5F3, 0x60F},   {0x61B, 0x61F},   {0x66A, 0x66D},    {0x6D4, 0x6D4},
    {0x700, 0x70F},   {0x964, 0x965},   {0x970, 0x970},   {0xE3F, 0xE3F},    {0xE4F, 0xE4F},
    {0xE5A, 0xE5B},   {0x10FB, 0x10FB}, {0x1360, 0x1368}, {0x1680, 0x1680},  {0x17D4, 0x17DB},
    {0x1800, 0x180E}, {0x2000, 0x2BFF}, {0x2E00, 0x2E7F}, {0x2FF0, 0x3004},  {0x3008, 0x3020},
    {0x3030, 0x3030}, {0x3036, 0x3037}, {0x303D, 0x303F}, {0x30A0, 0x30A0},  {0x30FB, 0x30FB},
    {0x3200, 0x33FF}, {0x4DC0, 0x4DFF}, {0xE000, 0xF8FF}, {0xFD3E, 0xFD4F},  {0xFE10, 0xFE19},
    {0xFE30, 0xFE6F}, {0xFF5F, 0xFF65}, {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF}};

constexpr Range kWords[] = {{0x1100, 0x11FF},  {0x2E80, 0x2FDF}, {0x3005, 0x3007}, {0x3021, 0x303C},
                            {0x3041, 0x318F},  {0x31A0, 0x31FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF},
                            {0xA960, 0xA97F},  {0xAC00, 0xD7FF}, {0xF900, 0xFAFF}, {0xFF66, 0xFFDC},
                            {0x20000, 0x3FFFF}};

// Looked up before the others.
constexpr Range kIgnored[] = {
    {0xAD, 0xAD}, {0x200C, 0x200D}, {0x2060, 0x2060}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}};

template <size_t N>
bool is_in(const Range (&ranges)[N], char32_t character) {
  const auto* end = std::upper_bound(std::begin(ranges), std::end(ranges), character,
                                     [](char32_t c, const Range& range) { return c < range.first; });
  return end != std::begin(ranges) && character <= std::prev(end)->last;
}

// Every `step`th character from `first` to `last` has its small letter `shift` behind it.
struct Capitals {
  char32_t first, last, step;
  int32_t shift;
};

constexpr Capitals kCapitals[] = {
    {'A', 'Z', 1, 32},      {0xB5, 0xB5, 1, 775},       {0xC0, 0xD6, 1, 32},   {0xD8, 0xDE, 1, 32},
    {0x100, 0x12E, 2, 1},   {0x130, 0x130, 1, -199},    {0x132, 0x136, 2, 1},  {0x139, 0x147, 2, 1},
    {0x14A, 0x176, 2, 1},   {0x178, 0x178, 1, -121},    {0x179, 0x17D, 2, 1},  {0x17F, 0x17F, 1, -268},
    {0x1A0, 0x1A4, 2, 1},   {0x1AF, 0x1AF, 1, 1},       {0x1CD, 0x1DB, 2, 1},  {0x1DE, 0x1EE, 2, 1},
    {0x1F8, 0x21E, 2, 1},   {0x222, 0x232, 2, 1},       {0x386, 0x386, 1, 38}, {0x388, 0x38A, 1, 37},
    {0x38C, 0x38C, 1, 64},  {0x38E, 0x38F, 1, 63},      {0x391, 0x3A1, 1, 32}, {0x3A3, 0x3AB, 1, 32},
    {0x3C2, 0x3C2, 1, 1},   {0x400, 0x40F, 1, 80},      {0x410, 0x42F, 1, 32}, {0x460, 0x480, 2, 1},
    {0x48A, 0x4BE, 2, 1},   {0x4C1, 0x4CD, 2, 1},       {0x4D0, 0x52E, 2, 1},  {0x531, 0x556, 1, 48},
    {0x1E00, 0x1E94, 2, 1}, {0x1E9E, 0x1E9E, 1, -7615}, {0x1EA0, 0x1EFE, 2, 1}};

}  // namespace

CharacterKind kind_of(char32_t c) {
  if (c < 0x80) {
    if (c >= '0' && c <= '9') return CharacterKind::digit;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? CharacterKind::letter
                                                            : CharacterKind::separator;
  }
  if (is_in(kIgnored, c)) return CharacterKind::ignored;
  if (is_in(kSeparatorCharacters, c)) return CharacterKind::separator;
  return is_in(kWords, c) ? CharacterKind::word : CharacterKind::letter;
}

char32_t folded(char32_t c) {
  const auto* after =
      std::upper_bound(std::begin(kCapitals), std::end(kCapitals), c,
                       [](char32_t value, const Capitals& each) { return value < each.first; });
  if (after == std::begin(kCapitals)) return c;
  const Capitals& found = *std::prev(after);
  if (c > found.last || (c - found.first) % found.step != 0) return c;
  return static_cast<char32_t>(static_cast<int32_t>(c) + found.shift);
}

char32_t next_character(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(position++);
  if (lead < 0x80) return lead;
  const size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  if (more == 0 || position + more > text.size()) return kReplacement;
  char32_t c = lead & (0x3FU >> more);
  for (size_t i = 0; i < more; ++i) {
    if ((byte(position + i) & 0xC0U) != 0x80U) return kReplacement;
    c = (c << 6U) | (byte(position + i) & 0x3FU);
  }
  position += more;
  return c >= 0xFF01 && c <= 0xFF5E ? c - 0xFEE0 : c;
}

void append_character(char32_t c, std::string& text) {
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr std::array<unsigned, 4> kLeads{0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLeads[static_cast<size_t>(more)] | (c >> (6U * static_cast<unsigned>(more))));
  for (int i = more - 1; i >= 0; --i)
    text += static_cast<char>(0x80U | ((c >> (6U * static_cast<unsigned>(i))) & 0x3FU));
}

}  // namespace medfusion::data
