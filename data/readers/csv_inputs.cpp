#include "data/readers/csv_inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace medfusion::data {
namespace {

constexpr double kNearly = 0.9;       // of the known cells
constexpr size_t kFewest = 20;        // cells or words: fewer say little
constexpr double kMostOfNamed = 0.5;  // of a column that is called an id, at least so many cells differ

using Cells = std::vector<std::string_view>;  // of a column, empty where missing

bool is_among(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Cells cells_of(const CsvTable& table, int column) {
  Cells cells;
  cells.reserve(static_cast<size_t>(table.rows()));
  for (int64_t row = 0; row < table.rows(); ++row) cells.push_back(table.known(row, column));
  return cells;
}

// "lesion_id", "Patient ID", "StudyInstanceUID", "patientId".
bool is_called_id(const std::string& name) {
  if (lower(name) == "id") return true;
  for (const char* end : {"ID", "Id", "_id", "-id", " id", ".id", "_uid", "_guid", "_uuid"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

// Whole numbers that never repeat and count the rows: in order, or without large gaps.
bool counts_rows(const Cells& known) {
  std::vector<int64_t> numbers;
  for (const std::string_view cell : known) {
    const auto value = parse_integer(cell);
    if (!value) return false;
    numbers.push_back(*value);
  }
  const bool ordered = std::is_sorted(numbers.begin(), numbers.end());
  const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
  const double span = static_cast<double>(*most) - static_cast<double>(*least);
  return ordered || span <= static_cast<double>(numbers.size()) * 1.1;
}

// Why training leaves the column out; empty where it does not.
std::string why_left_out(const std::string& name, const Cells& cells) {
  Cells known;
  std::copy_if(cells.begin(), cells.end(), std::back_inserter(known),
               [](auto cell) { return !cell.empty(); });
  if (known.empty()) return "";
  const auto share = [&](auto holds) {
    return static_cast<double>(std::count_if(known.begin(), known.end(), holds)) /
           static_cast<double>(known.size());
  };
  if (share(is_date) >= kNearly) return "it holds dates";
  const size_t distinct = std::unordered_set<std::string_view>(known.begin(), known.end()).size();
  const double different = static_cast<double>(distinct) / static_cast<double>(known.size());
  if (known.size() < kFewest || different < kMostOfNamed) return "";
  if (is_called_id(name)) return "it is called an identifier and seldom repeats";
  if (different < kNearly) return "";
  if (distinct == known.size() && counts_rows(known)) return "it counts the rows";
  if (share(looks_like_number) >= kMostOfNamed) return "";
  return "its words nearly never repeat, as those of an identifier";
}

// At most one known value: nothing to learn from.
bool is_constant(const Column& column) {
  std::set<double> numbers;
  for (const double value : column.numbers) {
    if (!std::isnan(value)) numbers.insert(value);
  }
  std::set<std::string> texts(column.categories.begin(), column.categories.end());
  texts.erase("");
  return numbers.size() <= 1 && texts.size() <= 1;
}

void refuse_numbers_as_words(const CsvTable& table, int column, const Cells& cells) {
  std::unordered_set<std::string_view> words;
  int64_t known = 0, numbers = 0, example = -1;
  for (size_t row = 0; row < cells.size(); ++row) {
    if (cells[row].empty()) continue;
    ++known;
    words.insert(cells[row]);
    if (!looks_like_number(cells[row])) continue;
    ++numbers;
    const bool plain = parse_number(cells[row]).has_value();
    if (example < 0 && !plain) example = static_cast<int64_t>(row);
  }
  if (words.size() <= kFewest || static_cast<double>(numbers) < kNearly * static_cast<double>(known)) return;
  core::throw_input_error(
      table.place(std::max<int64_t>(example, 0), column),
      "column '{}': {} of {} cells look like numbers, such as '{}'; expected plain numbers, data.decimal for "
      "their writing, data.missing for words among them, or the column in data.categorical_columns",
      table.header()[static_cast<size_t>(column)], numbers, known,
      cells[static_cast<size_t>(std::max<int64_t>(example, 0))]);
}

void refuse_conflict(const CsvTable& table, int column, const Cells& cells, const NumberWriting& writing) {
  const auto [comma, point] = *writing.conflict;
  core::throw_input_error(table.place(static_cast<int64_t>(comma), column),
                          "column '{}' holds numbers of two writings, '{}' and '{}'; expected one, or "
                          "data.decimal = \".\" or \",\"",
                          table.header()[static_cast<size_t>(column)], cells[comma], cells[point]);
}

void read_numbers(const CsvTable& table, int column, const Cells& cells, DecimalMark mark, Column& result) {
  for (size_t row = 0; row < cells.size(); ++row) {
    const auto value =
        cells[row].empty() ? std::numeric_limits<double>::quiet_NaN() : parse_written(cells[row], mark);
    if (!value) {
      core::throw_input_error(
          table.place(static_cast<int64_t>(row), column),
          "expected a number in column '{}', got '{}'; data.missing or data.categorical_columns allow it",
          result.name, cells[row]);
    }
    if (std::abs(*value) > std::numeric_limits<float>::max())
      table.reject(static_cast<int64_t>(row), column, "a number that f32 holds");
    result.numbers.push_back(*value);
  }
}

// Of words that are the same number the first stands for all.
void read_words(const Cells& cells, Column& result) {
  std::unordered_map<double, std::string_view> first;
  for (const std::string_view cell : cells) {
    const auto number = parse_number(cell);
    result.categories.emplace_back(number ? first.emplace(*number, cell).first->second : cell);
  }
}

// `writing` receives how the numbers are written.
Column read_cells(const CsvTable& table, int column, const Cells& cells, const InputRules& rules,
                  NumberWriting& writing) {
  Column result;
  result.name = table.header()[static_cast<size_t>(column)];
  writing = writing_of(cells, rules.mark);
  const bool categorical = is_among(rules.categorical, result.name);
  const bool numbers =
      rules.keep_all ? writing.others == 0 && !writing.conflict : writing.numbers >= writing.others;
  result.numeric = !categorical && numbers;
  if (result.numeric) {
    if (writing.conflict) refuse_conflict(table, column, cells, writing);
    result.decimal_comma = writing.mark == DecimalMark::comma;
    read_numbers(table, column, cells, writing.mark, result);
  } else {
    if (!categorical && !rules.keep_all) refuse_numbers_as_words(table, column, cells);
    read_words(cells, result);
  }
  return result;
}

// The inputs by kind, categories with the number of their words.
std::string list_of_inputs(const std::vector<Column>& columns) {
  std::string numbers, categories;
  for (const Column& column : columns) {
    std::string& list = column.numeric ? numbers : categories;
    list += (list.empty() ? "" : ", ") + column.name;
    if (column.numeric) continue;
    std::unordered_set<std::string_view> words(column.categories.begin(), column.categories.end());
    words.erase("");
    list += fmt::format(" ({})", words.size());
  }
  if (numbers.empty() && categories.empty()) return "the table has no input";
  std::string text = "inputs of the table:";
  if (!numbers.empty()) text += " numbers " + numbers;
  if (!categories.empty()) text += (numbers.empty() ? "" : ";") + (" categories " + categories);
  return text;
}

void leave_out(const std::string& column, const std::string& why, Dataset& dataset) {
  dataset.left_out.emplace_back(column, why);
  dataset.notes.push_back(fmt::format("column '{}' is left out, {}", column, why));
}

}  // namespace

void read_inputs(const CsvTable& table, const std::vector<int>& columns, const InputRules& rules,
                 Dataset& dataset) {
  for (const int column : columns) {
    const std::string& name = table.header()[static_cast<size_t>(column)];
    const Cells cells = cells_of(table, column);
    if (!rules.keep_all && !is_among(rules.named, name) && !is_among(rules.categorical, name)) {
      const std::string reason = why_left_out(name, cells);
      if (!reason.empty()) {
        leave_out(name, reason + "; data.table names it to use it", dataset);
        continue;
      }
    }
    NumberWriting writing;
    Column read = read_cells(table, column, cells, rules, writing);
    if (!rules.keep_all && is_constant(read)) {
      leave_out(name, "it holds one value only", dataset);
      continue;
    }
    if (read.numeric && writing.unusual > 0) {
      dataset.notes.push_back(fmt::format("column '{}': {} numbers are read like '{}' as {} (data.decimal)",
                                          name, writing.unusual, cells[writing.example],
                                          read.numbers[writing.example]));
    }
    dataset.columns.push_back(std::move(read));
  }
  if (!rules.keep_all) dataset.notes.push_back(list_of_inputs(dataset.columns));
}

Column read_input_column(const CsvTable& table, int column, const std::vector<std::string>& categorical) {
  InputRules rules;
  rules.categorical = categorical;
  NumberWriting writing;
  return read_cells(table, column, cells_of(table, column), rules, writing);
}

}  // namespace medfusion::data
