// Numbers as people write them in tables: decimal marks, thousands separators, percent signs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/settings.h"

namespace medfusion::data {

inline constexpr std::array kDecimalMarks{"auto", ".", ","};
enum class DecimalMark : uint8_t { automatic, point, comma };
constexpr core::Names names_of(DecimalMark) { return kDecimalMarks; }

// The whole of `text` as a finite number whose decimal mark is `mark` (point or comma). Its whole part may be
// separated into groups of three digits by the other mark, a blank, a no-break space or an apostrophe. A
// percent sign at the end divides by 100.
std::optional<double> parse_written(std::string_view text, DecimalMark mark);

// How the numbers of a column are written.
struct NumberWriting {
  DecimalMark mark = DecimalMark::point;
  int64_t numbers = 0;  // cells that are numbers with one mark or the other
  int64_t others = 0;   // cells that are not
  // Of the numbers: those with a separator of thousands, a decimal comma or a percent sign.
  int64_t unusual = 0;
  int64_t either = 0;  // of the numbers: those that each mark reads, but not alike, such as 1,520
  size_t example = 0;  // the place of the first unusual number
  // The places of two numbers that no mark reads both, such as 1,52 and 1.52.
  std::optional<std::pair<size_t, size_t>> conflict = {};
};

// The mark is `mark`; where that is automatic, the one that reads every number of `cells` (empty ones are
// missing); where both do, `usual`.
NumberWriting writing_of(const std::vector<std::string_view>& cells, DecimalMark mark,
                         DecimalMark usual = DecimalMark::point);

// Whether `text` is a day, perhaps with a time: 2001-01-31, 31.01.2001, 1/31/2001, 20010131.
bool is_date(std::string_view text);

// Whether `text` is a number with a unit or a sign of comparison: "58Y", "<0.5", "5 mg".
bool looks_like_number(std::string_view text);

}  // namespace medfusion::data
