#include "data/column_facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <unordered_set>

#include "core/error.h"
#include "data/readers/csv_inputs.h"

namespace medfusion::data {
namespace {

constexpr int64_t kFewestRows = 20;  // that show how a column and a label go together
constexpr double kChance = 1e-6;     // that they do so by chance

bool is_listed(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

LabelCoding coding_of_cell(std::string_view cell) {
  if (const auto number = parse_number(cell))
    return *number == 0.0 || *number == 1.0 || *number == -1.0 ? LabelCoding::digits : LabelCoding::none;
  const std::string word = lower(cell);
  if (word == "true" || word == "false") return LabelCoding::true_false;
  return word == "yes" || word == "no" ? LabelCoding::yes_no : LabelCoding::none;
}

void add_coding(const CsvTable& table, int column, ColumnFacts& facts) {
  for (size_t row = 0; row < facts.cells.size(); ++row) {
    if (facts.cells[row].empty()) continue;
    const LabelCoding coding = coding_of_cell(facts.cells[row]);
    if (coding == LabelCoding::none) {
      facts.coding = coding;
      facts.zeros = facts.ones = facts.uncertain = 0;
      return;
    }
    facts.coding = coding;
    const float value = table.label(static_cast<int64_t>(row), column, Uncertain::unknown);
    ++(std::isnan(value) ? facts.uncertain : value == 0.0F ? facts.zeros : facts.ones);
  }
}

// As the reader of the inputs sees it.
void add_kind(const CsvTable& table, int column, ColumnFacts& facts) {
  Dataset dataset;
  try {
    read_inputs(table, {column}, {}, dataset);
  } catch (const core::InputError& error) {
    facts.why_left_out = error.what();
    return;
  }
  if (!dataset.left_out.empty()) facts.why_left_out = dataset.left_out.front().second;
  facts.seems_identifier = facts.why_left_out.find("identifier") != std::string::npos ||
                           facts.why_left_out.find("counts the rows") != std::string::npos;
  if (!dataset.columns.empty()) facts.numeric = dataset.columns.front().numeric;
}

// "went_icu" -> went, icu; "leftSide" stays one word.
std::vector<std::string> words_of_name(const std::string& name) {
  std::vector<std::string> words{""};
  for (const char c : lower(name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  return words;
}

bool is_called_label(const std::string& name) {
  static const std::unordered_set<std::string> kNames{
      "y", "class", "cancer", "malignant", "malignancy", "disease", "diagnosis", "death", "died", "dead",
      "mortality", "sick", "positive",
      // Findings of ChestX-ray14 and CheXpert.
      "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
      "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening", "hernia",
      "no finding", "enlarged cardiomediastinum", "lung opacity", "lung lesion", "pleural effusion",
      "pleural other", "fracture", "support devices"};
  const std::string first = words_of_name(name).front();
  for (const char* start : {"label", "target", "outcome"}) {
    if (first.starts_with(start)) return true;
  }
  return kNames.contains(lower(name));
}

bool is_called_outcome(const std::string& name) {
  for (const std::string& word : words_of_name(name)) {
    for (const char* start : {"outcome", "label", "target", "diagnos", "biops", "surviv", "death", "dead",
                              "died", "mortal", "icu", "intubat", "extubat", "relaps", "recurr"}) {
      if (word.starts_with(start)) return true;
    }
  }
  return false;
}

bool coded_alike(const ColumnFacts& a, const ColumnFacts& b) {
  return a.could_be_label() && b.could_be_label() && a.coding == b.coding;
}

// Whether the columns from one to the other could all be labels and are coded alike. Both are of one list.
bool in_one_run(const ColumnFacts& a, const ColumnFacts& b) {
  const ColumnFacts* const from = std::min(&a, &b);
  const ColumnFacts* const to = std::max(&a, &b);
  return std::all_of(from, to + 1, [&](const ColumnFacts& each) { return coded_alike(each, a); });
}

// "1" where the row has the label, "0" where it does not, empty where that is not known; other columns as
// they are.
std::vector<std::string> label_words(const ColumnFacts& column) {
  std::vector<std::string> words;
  for (const std::string_view cell : column.cells) {
    std::string word(cell);
    if (column.coding != LabelCoding::none && !cell.empty()) {
      const std::string small = lower(cell);
      word = small == "true" || small == "yes" || parse_number(cell) == 1.0 ? "1" : "0";
      if (parse_number(cell) == -1.0) word.clear();
    }
    words.push_back(std::move(word));
  }
  return words;
}

// How often something that holds in `share` of the rows holds in all of n rows drawn at random.
bool beyond_chance(int64_t n, double share) {
  return n >= kFewestRows && share < 1.0 && std::pow(share, static_cast<double>(n)) < kChance;
}

struct Together {
  int64_t rows = 0, positive = 0;
};

// Rows by the column's word, and those of them that have the label.
std::map<std::string, Together> count_together(const std::vector<std::string>& words,
                                               const std::vector<std::string>& label, Together& all) {
  std::map<std::string, Together> counts;
  for (size_t row = 0; row < words.size(); ++row) {
    if (words[row].empty() || label[row].empty()) continue;
    Together& each = counts[words[row]];
    for (Together* sum : {&each, &all}) {
      ++sum->rows;
      sum->positive += label[row] == "1" ? 1 : 0;
    }
  }
  return counts;
}

// A word of the column whose rows all have the label, or (of a column that could be one) that all rows of the
// label have.
std::string why_together(const ColumnFacts& column, const ColumnFacts& label) {
  Together all;
  const std::vector<std::string> words = label_words(column);
  const auto counts = count_together(words, label_words(label), all);
  if (all.rows == 0) return "";
  const auto share = [&](int64_t n) { return static_cast<double>(n) / static_cast<double>(all.rows); };
  for (const auto& [word, each] : counts) {
    const auto row = std::find(words.begin(), words.end(), word) - words.begin();
    const std::string_view written = column.cells[static_cast<size_t>(row)];
    if (each.positive == each.rows && beyond_chance(each.rows, share(all.positive))) {
      return fmt::format("all {} rows in which it is {} have '{}', as an outcome would", each.rows, written,
                         label.name);
    }
    if (column.could_be_label() && each.positive == all.positive &&
        beyond_chance(all.positive, share(each.rows))) {
      return fmt::format("it is {} in all {} rows that have '{}', as an outcome would", written, all.positive,
                         label.name);
    }
  }
  return "";
}

}  // namespace

std::vector<ColumnFacts> column_facts(const CsvTable& table) {
  std::vector<ColumnFacts> columns;
  for (int column = 0; column < table.columns(); ++column) {
    ColumnFacts facts;
    facts.name = table.header()[static_cast<size_t>(column)];
    std::unordered_set<std::string_view> distinct;
    for (int64_t row = 0; row < table.rows(); ++row) {
      facts.cells.push_back(table.known(row, column));
      if (facts.cells.back().empty()) continue;
      ++facts.known;
      distinct.insert(facts.cells.back());
    }
    facts.distinct = static_cast<int64_t>(distinct.size());
    add_coding(table, column, facts);
    add_kind(table, column, facts);
    columns.push_back(std::move(facts));
  }
  return columns;
}

const ColumnFacts& facts_of(const std::vector<ColumnFacts>& columns, const std::string& name) {
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const ColumnFacts& each) { return each.name == name; });
  MEDFUSION_CHECK(found != columns.end(), "no column '{}'", name);
  return *found;
}

ChosenLabels choose_labels(const CsvTable& table, const std::vector<ColumnFacts>& columns,
                           const std::vector<std::string>& taken, const std::vector<std::string>& wanted) {
  ChosenLabels result;
  for (const std::string& name : wanted) {
    const int column = table.column(name);
    if (is_listed(taken, name)) core::throw_input_error({table.file(), 1}, "column '{}' is no label", name);
    for (int64_t row = 0; row < table.rows(); ++row) table.label(row, column);
    result.columns.push_back(name);
    result.why = "--labels";
  }
  std::vector<const ColumnFacts*> candidates;
  for (const ColumnFacts& column : columns) {
    if (column.could_be_label() && !is_listed(taken, column.name)) candidates.push_back(&column);
  }
  for (const ColumnFacts* column : candidates) {
    if (!wanted.empty() || !is_called_label(column->name)) continue;
    result.columns.push_back(column->name);
    result.why = "called like a label, and of two values";
  }
  if (result.columns.empty() && candidates.empty()) {
    core::throw_input_error(
        {table.file(), 1},
        "no column can be a label; expected one that holds 0 and 1, true and false, or yes "
        "and no (each word of a column can be a label too: data.class_column names it)");
  }
  if (result.columns.empty()) {
    for (const ColumnFacts* column : candidates) {
      if (in_one_run(*column, *candidates.back())) result.columns.push_back(column->name);
    }
    result.why = "the last columns of two values, which are coded alike and stand together";
  }
  for (const ColumnFacts* column : candidates) {
    if (!is_listed(result.columns, column->name)) result.others.push_back(column->name);
  }
  return result;
}

std::string why_outcome(const std::vector<ColumnFacts>& columns, const ColumnFacts& column,
                        const std::vector<std::string>& labels) {
  for (const std::string& name : labels) {
    if (in_one_run(column, facts_of(columns, name)))
      return fmt::format("it stands beside '{}' and is coded alike", name);
  }
  if (column.numeric && !column.could_be_label()) return "";
  if (is_called_outcome(column.name)) return "called like an outcome";
  for (const std::string& name : labels) {
    if (std::string why = why_together(column, facts_of(columns, name)); !why.empty()) return why;
  }
  return "";
}

}  // namespace medfusion::data
