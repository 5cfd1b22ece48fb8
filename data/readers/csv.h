// Comma-separated values (RFC 4180) with the place of every cell, for errors that say where.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/settings.h"
#include "data/readers/file_limits.h"

namespace medfusion::data {

inline constexpr std::array kSeparators{"auto", ",", ";", "tab"};
enum class Separator : uint8_t {
  automatic,  // what stands most often in the header, outside of quotes; a comma where it stands as often
  comma,
  semicolon,
  tab,
};
constexpr core::Names names_of(Separator) { return kSeparators; }

// What a label of -1 is.
inline constexpr std::array kUncertain{"auto", "refuse", "unknown", "negative", "positive"};
enum class Uncertain : uint8_t {
  automatic,  // what the format defines, else refuse
  refuse,
  unknown,
  negative,
  positive,
};
constexpr core::Names names_of(Uncertain) { return kUncertain; }

// What a label without a value is.
inline constexpr std::array kBlankLabels{"auto", "unknown", "negative"};
enum class BlankLabel : uint8_t {
  automatic,  // what the format defines, else unknown
  unknown,
  negative,
};
constexpr core::Names names_of(BlankLabel) { return kBlankLabels; }

// How a file is written, and how much it may hold.
struct CsvDialect {
  Separator separator = Separator::automatic;
  std::vector<std::string> missing = {};  // cells that are missing beside those of is_missing()
  FileLimits limits = {};
};

// A table whose first record is the header. Accepted: LF, CRLF and CR line ends, a UTF-8 byte order mark,
// quoted cells with separators, line ends and doubled quotes, a last line without its end. Empty lines and
// records whose cells are all blank are skipped. A record with another number of cells than the header, a
// stray quote, a repeated column name, a line beyond the limit and a file of another kind are errors.
class CsvTable {
 public:
  // Reads a file, plain or gzip-compressed.
  static CsvTable read(const std::string& path, CsvDialect dialect = {});
  // Parses text; `file` is the name that errors carry.
  static CsvTable parse(std::string text, const std::string& file, CsvDialect dialect = {});

  const std::string& file() const { return file_; }
  char separator() const { return separator_; }       // of this file: a comma, a semicolon or a tab
  int64_t blank_rows() const { return blank_rows_; }  // skipped; lines without a cell do not count
  const std::string& text() const { return text_; }   // as read
  const std::vector<std::string>& header() const { return header_; }
  int64_t rows() const { return static_cast<int64_t>(cells_.size() / header_.size()) - 1; }
  int columns() const { return static_cast<int>(header_.size()); }

  // The index of a column; throws naming the file and the nearest column where there is none.
  int column(std::string_view name) const;
  std::optional<int> find_column(std::string_view name) const;

  const std::string& cell(int64_t row, int column) const { return cells_[index(row, column)].text; }
  // Line and character of the cell's first character (of its quote where it has one). Row -1 is the header.
  core::Place place(int64_t row, int column) const;
  // Throws InputError "file:line:column: expected `expected` in column 'name', got 'cell'".
  [[noreturn]] void reject(int64_t row, int column, std::string_view expected) const;

  // Typed cells; blanks around them are ignored. Each throws through reject().
  std::string required(int64_t row, int column) const;  // any text, not missing
  int64_t integer(int64_t row, int column, int64_t low = INT64_MIN, int64_t high = INT64_MAX) const;
  double number(int64_t row, int column) const;  // finite; NaN where the cell is missing
  // 0 or 1, also written false, no, true, yes; NaN where missing. -1 is what `minus_one` says; the caller of
  // `refuse` looks for it first.
  float label(int64_t row, int column, Uncertain minus_one = Uncertain::unknown) const;
  std::string category(int64_t row, int column) const;  // trimmed; empty where missing
  // The cell without blanks around it; empty where missing.
  std::string_view known(int64_t row, int column) const;

 private:
  struct Cell {
    std::string text;
    size_t offset = 0;  // of its first byte in text_
  };
  size_t index(int64_t row, int column) const {
    return static_cast<size_t>(row + 1) * header_.size() + static_cast<size_t>(column);
  }
  core::Place place_of(size_t offset) const;
  size_t parse_cell(size_t position, Cell& cell) const;
  char find_separator() const;
  bool ends_cell(char c) const { return c == separator_ || c == '\n' || c == '\r'; }
  void find_lines();
  void check_lines(int64_t most_bytes) const;
  void parse_records();
  void check_header() const;

  std::string file_;
  std::string text_;
  std::vector<size_t> line_starts_;  // offsets in text_
  std::vector<std::string> header_;
  std::vector<Cell> cells_;  // row-major, the header first
  std::vector<std::string> missing_;
  char separator_ = ',';
  int64_t blank_rows_ = 0;
};

// "", "?", and the spellings that pandas 2 reads as missing: how tables write that a value is not known.
bool is_missing(std::string_view cell);
std::string_view trim(std::string_view text);
// `text` in small letters; letters beyond ASCII stay as they are.
std::string lower(std::string_view text);
// The whole of `text` as a finite number.
std::optional<double> parse_number(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);

}  // namespace medfusion::data
