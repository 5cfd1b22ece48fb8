#include "data/readers/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>
#include <unordered_map>

#include "core/file_kind.h"
#include "core/nearest.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What pandas 2 reads as missing, and the question mark of the UCI tables.
constexpr std::array<std::string_view, 19> kMissingSpellings = {
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "?",    "N/A",      "NA",  "NULL",    "NaN",      "None", "n/a",  "nan",    "null"};

// Long cells are cut in messages.
std::string shown(const std::string& cell) {
  constexpr size_t kLongest = 60;
  std::string text = cell.size() <= kLongest ? cell : cell.substr(0, kLongest) + "...";
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

}  // namespace

CsvTable CsvTable::read(const std::string& path, CsvDialect dialect) {
  return parse(read_text_file(path, dialect.limits.table_bytes()), path, dialect);
}

CsvTable CsvTable::parse(std::string text, const std::string& file, CsvDialect dialect) {
  CsvTable table;
  table.file_ = file;
  table.text_ = std::move(text);
  table.missing_ = std::move(dialect.missing);
  const std::string kind = table.text_.empty() ? "" : core::kind_of_file(table.text_);
  if (!kind.empty()) core::throw_input_error({file}, "expected a table as CSV, got {}", kind);
  table.find_lines();
  table.check_lines(dialect.limits.line_bytes);
  table.separator_ = dialect.separator == Separator::comma       ? ','
                     : dialect.separator == Separator::semicolon ? ';'
                     : dialect.separator == Separator::tab       ? '\t'
                                                                 : table.find_separator();
  table.parse_records();
  table.check_header();
  return table;
}

// What stands most often in the header, outside of quotes.
char CsvTable::find_separator() const {
  std::array<std::pair<char, int64_t>, 3> counts = {{{',', 0}, {';', 0}, {'\t', 0}}};
  bool quoted = false;
  bool begun = false;
  for (size_t i = line_starts_.front(); i < text_.size(); ++i) {
    const char c = text_[i];
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    const bool line_end = c == '\n' || c == '\r';
    if (line_end && begun) break;
    for (auto& [separator, count] : counts) count += c == separator ? 1 : 0;
    begun = begun || !line_end;
  }
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// Reads the cell that starts at `position`; returns the position of the separator or line end after it.
size_t CsvTable::parse_cell(size_t position, Cell& cell) const {
  cell.offset = position;
  if (position >= text_.size() || text_[position] != '"') {
    size_t end = position;
    while (end < text_.size() && !ends_cell(text_[end]) && text_[end] != '"') ++end;
    if (end < text_.size() && text_[end] == '"') {
      core::throw_input_error(place_of(end), "expected the whole cell in quotes, got a quote inside it");
    }
    cell.text = text_.substr(position, end - position);
    return end;
  }
  for (size_t i = position + 1;;) {
    const size_t quote = text_.find('"', i);
    if (quote == std::string::npos) {
      core::throw_input_error(place_of(position), "expected a closing quote, got the end of the file");
    }
    cell.text.append(text_, i, quote - i);
    if (quote + 1 < text_.size() && text_[quote + 1] == '"') {
      cell.text += '"';
      i = quote + 2;
      continue;
    }
    const size_t end = quote + 1;
    if (end < text_.size() && !ends_cell(text_[end])) {
      core::throw_input_error(place_of(end), "expected a {} or a line end after the closing quote",
                              separator_ == ','   ? "comma"
                              : separator_ == ';' ? "semicolon"
                                                  : "tab");
    }
    return end;
  }
}

void CsvTable::find_lines() {
  line_starts_.push_back(text_.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
  for (size_t i = text_.find_first_of("\r\n"); i < text_.size(); i = text_.find_first_of("\r\n", i + 1)) {
    if (text_[i] == '\r' && i + 1 < text_.size() && text_[i + 1] == '\n')
      continue;  // its line feed ends the line
    line_starts_.push_back(i + 1);
  }
}

void CsvTable::check_lines(int64_t most_bytes) const {
  for (size_t i = 0; i < line_starts_.size(); ++i) {
    const size_t end = i + 1 < line_starts_.size() ? line_starts_[i + 1] : text_.size();
    const auto bytes = static_cast<int64_t>(end - line_starts_[i]);
    if (bytes <= most_bytes) continue;
    core::throw_input_error({file_, static_cast<int64_t>(i) + 1},
                            "expected lines of at most {} bytes (data.max_line_bytes), got {}", most_bytes,
                            bytes);
  }
}

void CsvTable::parse_records() {
  size_t position = line_starts_.front();
  const size_t zero = text_.find('\0');
  if (zero != std::string::npos) {
    core::throw_input_error(place_of(zero), "expected UTF-8 text, got a zero byte");
  }
  const size_t invalid = find_invalid_utf8(text_);
  if (invalid != std::string::npos) {
    core::throw_input_error(place_of(invalid), "expected UTF-8 text, got the byte {:#04x}",
                            static_cast<unsigned char>(text_[invalid]));
  }
  size_t width = 0;
  while (position < text_.size()) {
    if (text_[position] == '\n' || text_[position] == '\r') {
      ++position;
      continue;
    }
    const size_t start = position;
    const size_t first = cells_.size();
    for (;; ++position) {
      cells_.emplace_back();
      position = parse_cell(position, cells_.back());
      if (position >= text_.size() || text_[position] != separator_) break;
    }
    const size_t count = cells_.size() - first;
    const auto record = std::span(cells_).subspan(first);
    if (count > 1 &&
        std::all_of(record.begin(), record.end(), [](const Cell& cell) { return trim(cell.text).empty(); })) {
      cells_.resize(first);
      ++blank_rows_;
      continue;
    }
    if (width == 0) width = count;
    if (count != width) {
      core::throw_input_error(place_of(start), "expected {} cells as in the header, got {}", width, count);
    }
  }
  if (width == 0) core::throw_input_error({file_, 1}, "expected a header, got an empty file");
  for (size_t i = 0; i < width; ++i) header_.push_back(cells_[i].text);
}

void CsvTable::check_header() const {
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < header_.size(); ++i) {
    if (header_[i].empty()) continue;  // exports leave their index column without a name
    if (!seen.emplace(header_[i], i).second) {
      core::throw_input_error(place_of(cells_[i].offset), "expected each column once, got '{}' again",
                              header_[i]);
    }
  }
}

std::optional<int> CsvTable::find_column(std::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  if (found == header_.end()) return std::nullopt;
  return static_cast<int>(found - header_.begin());
}

int CsvTable::column(std::string_view name) const {
  if (const auto found = find_column(name)) return *found;
  core::throw_input_error({file_, 1}, "no column '{}'{}", name, core::did_you_mean(name, header_));
}

core::Place CsvTable::place(int64_t row, int column) const {
  return place_of(cells_[index(row, column)].offset);
}

core::Place CsvTable::place_of(size_t offset) const {
  const auto line = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset) - line_starts_.begin();
  int64_t column = 1;
  for (size_t i = line_starts_[static_cast<size_t>(line - 1)]; i < offset; ++i) {
    if ((static_cast<unsigned char>(text_[i]) & 0xC0U) != 0x80U)
      ++column;  // UTF-8 continuation bytes do not count
  }
  return {file_, line, column};
}

void CsvTable::reject(int64_t row, int column, std::string_view expected) const {
  core::throw_input_error(place(row, column), "expected {} in column '{}', got '{}'", expected,
                          header_[static_cast<size_t>(column)], shown(cell(row, column)));
}

std::string CsvTable::required(int64_t row, int column) const {
  const std::string_view text = known(row, column);
  if (text.empty()) reject(row, column, "a value");
  return std::string(text);
}

int64_t CsvTable::integer(int64_t row, int column, int64_t low, int64_t high) const {
  const auto value = parse_integer(trim(cell(row, column)));
  if (value && *value >= low && *value <= high) return *value;
  std::string range;
  if (low != INT64_MIN) range += fmt::format(" of at least {}", low);
  if (high != INT64_MAX) range += fmt::format("{} at most {}", range.empty() ? " of" : " and", high);
  reject(row, column, "a whole number" + range);
}

double CsvTable::number(int64_t row, int column) const {
  const std::string_view text = known(row, column);
  if (text.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto value = parse_number(text);
  if (!value) reject(row, column, "a number");
  if (std::abs(*value) > std::numeric_limits<float>::max()) reject(row, column, "a number that f32 holds");
  return *value;
}

float CsvTable::label(int64_t row, int column, Uncertain minus_one) const {
  const std::string_view text = known(row, column);
  const auto value = parse_number(text);
  const bool unknown = value == -1.0 && minus_one == Uncertain::unknown;
  if (text.empty() || unknown) return std::numeric_limits<float>::quiet_NaN();
  if (value == -1.0 && minus_one != Uncertain::refuse) return minus_one == Uncertain::positive ? 1.0F : 0.0F;
  if (value == 0.0 || value == 1.0) return static_cast<float>(*value);
  const std::string word = lower(text);
  if (word == "true" || word == "yes") return 1.0F;
  if (word != "false" && word != "no") reject(row, column, "0, 1, -1, true, false, yes, no or nothing");
  return 0.0F;
}

std::string CsvTable::category(int64_t row, int column) const { return std::string(known(row, column)); }

std::string_view CsvTable::known(int64_t row, int column) const {
  const std::string_view text = trim(cell(row, column));
  const bool missing =
      is_missing(text) || std::find(missing_.begin(), missing_.end(), text) != missing_.end();
  return missing ? std::string_view() : text;
}

bool is_missing(std::string_view cell) {
  if (cell.empty()) return true;
  if (cell.back() >= '0' && cell.back() <= '9') return false;  // most cells are numbers
  return std::find(kMissingSpellings.begin(), kMissingSpellings.end(), cell) != kMissingSpellings.end();
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

std::optional<double> parse_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-')
    text.remove_prefix(1);  // from_chars takes no plus sign
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace medfusion::data
