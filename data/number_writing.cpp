#include "data/number_writing.h"

#include <algorithm>

#include "data/readers/csv.h"

namespace medfusion::data {
namespace {

bool is_decimal_digit(char c) { return c >= '0' && c <= '9'; }

// The number of digits that `text` begins with.
size_t leading_digits(std::string_view text) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_decimal_digit) - text.begin());
}

// Takes a separator of thousands off the front of `text`; returns it, or nothing.
std::string_view take_group_separator(std::string_view& text, char other_mark) {
  for (const std::string_view separator :
       {std::string_view(&other_mark, 1), std::string_view(" "), std::string_view("'"),
        std::string_view("\xC2\xA0"), std::string_view("\xE2\x80\xAF"), std::string_view("\xE2\x80\x99")}) {
    if (!text.starts_with(separator)) continue;
    const std::string_view taken = text.substr(0, separator.size());
    text.remove_prefix(separator.size());
    return taken;
  }
  return {};
}

// Takes the digits of a whole part off the front of `text`; false where separators do not make groups of
// three.
bool take_whole(std::string_view& text, char other_mark, std::string& digits) {
  const size_t first = leading_digits(text);
  const bool may_group = first >= 1 && first <= 3 && text[0] != '0';
  digits += text.substr(0, first);
  text.remove_prefix(first);
  std::string_view used;
  for (;;) {
    const std::string_view separator = take_group_separator(text, other_mark);
    if (separator.empty()) return true;
    if (!may_group || (!used.empty() && used != separator) || leading_digits(text) != 3) return false;
    used = separator;
    digits += text.substr(0, 3);
    text.remove_prefix(3);
  }
}

// One or two digits, a month or a day, or a year of four; nothing where `text` is longer.
std::optional<int64_t> date_part(std::string_view text) {
  const bool fits = text.size() == 1 || text.size() == 2 || text.size() == 4;
  return fits && leading_digits(text) == text.size() ? parse_integer(text) : std::nullopt;
}

bool is_year(std::string_view text) {
  const auto value = date_part(text);
  return text.size() == 4 && value && *value >= 1850 && *value <= 2150;
}

bool is_day_and_month(std::string_view a, std::string_view b) {
  const auto first = date_part(a), second = date_part(b);
  if (!first || !second || a.size() > 2 || b.size() > 2) return false;
  return *first >= 1 && *second >= 1 && std::min(*first, *second) <= 12 && std::max(*first, *second) <= 31;
}

}  // namespace

std::optional<double> parse_written(std::string_view text, DecimalMark mark) {
  const bool comma = mark == DecimalMark::comma;
  if (!comma || text.find_first_of(".,") == std::string_view::npos) {
    if (const auto plain = parse_number(text)) return plain;
  }
  const bool percent = text.ends_with('%');
  if (percent) text = trim(text.substr(0, text.size() - 1));
  std::string digits;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    if (text[0] == '-') digits += '-';
    text.remove_prefix(1);
  }
  if (text.empty() || !(is_decimal_digit(text[0]) || text[0] == (comma ? ',' : '.'))) return std::nullopt;
  if (!take_whole(text, comma ? '.' : ',', digits)) return std::nullopt;
  if (!text.empty() && text[0] == (comma ? ',' : '.')) {
    digits += '.';
    text.remove_prefix(1);
  }
  digits += text;
  const auto value = parse_number(digits);
  return value && percent ? *value / 100.0 : value;
}

NumberWriting writing_of(const std::vector<std::string_view>& cells, DecimalMark mark, DecimalMark usual) {
  NumberWriting result;
  std::optional<size_t> only_point, only_comma;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string_view cell = cells[i];
    if (cell.empty()) continue;
    const bool has_mark = cell.find_first_of(".,") != std::string_view::npos;
    const auto point = parse_written(cell, DecimalMark::point);
    const auto comma = has_mark ? parse_written(cell, DecimalMark::comma) : point;
    const bool counts = mark == DecimalMark::point   ? point.has_value()
                        : mark == DecimalMark::comma ? comma.has_value()
                                                     : point || comma;
    ++(counts ? result.numbers : result.others);
    if (!counts) continue;
    if (!parse_number(cell) && result.unusual++ == 0) result.example = i;
    if (!comma && !only_point) only_point = i;
    if (!point && !only_comma) only_comma = i;
    if (point && comma && *point != *comma) ++result.either;
  }
  if (mark != DecimalMark::automatic) {
    result.mark = mark;
  } else if (only_point && only_comma) {
    result.conflict = std::pair(*only_comma, *only_point);
  } else if (only_point || only_comma) {
    result.mark = only_comma ? DecimalMark::comma : DecimalMark::point;
  } else {
    result.mark = usual;
  }
  return result;
}

bool is_date(std::string_view text) {
  if (text.size() == 8 && leading_digits(text) == 8)
    return is_year(text.substr(0, 4)) && is_day_and_month(text.substr(4, 2), text.substr(6));
  const size_t end = std::min(text.find_first_of(" T"), text.size());  // a time may follow
  if (end < text.size() && (end + 1 == text.size() || !is_decimal_digit(text[end + 1]))) return false;
  const std::string_view day = text.substr(0, end);
  const size_t first = day.find_first_of("-/.");
  if (first == std::string_view::npos) return false;
  const size_t second = day.find(day[first], first + 1);
  if (second == std::string_view::npos) return false;
  const std::string_view a = day.substr(0, first), b = day.substr(first + 1, second - first - 1),
                         c = day.substr(second + 1);
  return (is_year(a) && is_day_and_month(b, c)) || (is_year(c) && is_day_and_month(a, b));
}

bool looks_like_number(std::string_view text) {
  for (const std::string_view sign : {"<=", ">=", "<", ">", "~", "\xE2\x89\xA4", "\xE2\x89\xA5"}) {
    if (!text.starts_with(sign)) continue;
    text = trim(text.substr(sign.size()));
    break;
  }
  const size_t end = std::min(text.find_first_not_of("+-0123456789.,'"), text.size());
  const std::string_view number = text.substr(0, end), unit = trim(text.substr(end));
  constexpr size_t kLongestUnit = 12;
  if (unit.size() > kLongestUnit || unit.find_first_of(" _-") != std::string_view::npos) return false;
  return parse_written(number, DecimalMark::point) || parse_written(number, DecimalMark::comma);
}

}  // namespace medfusion::data
