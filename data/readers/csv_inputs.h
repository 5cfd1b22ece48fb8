// The input columns of a table: which training leaves out, and what the others hold.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/number_writing.h"
#include "data/readers/csv.h"

namespace medfusion::data {

struct InputRules {
  std::vector<std::string> named = {};        // kept although they look like dates or identifiers
  std::vector<std::string> categorical = {};  // categories although they hold numbers; kept as well
  DecimalMark mark = DecimalMark::automatic;
  // Rows to apply a run to: nothing is left out, and a column with a cell that is no number is categorical.
  bool keep_all = false;
};

// Reads `columns` of the table into Dataset::columns. A column is numeric where at least half of its cells
// are numbers (NumberWriting), and then every other cell must be one; else it is categorical, and words that
// are the same number are one category. Left out, with a note: columns of one value, of dates, and of cells
// that nearly never repeat (words, or whole numbers that count the rows or are called an id). Refused: a
// column whose numbers are written in two ways, and one of more than 20 words that nearly all look like
// numbers. Throws core::InputError naming file, line and column.
void read_inputs(const CsvTable& table, const std::vector<int>& columns, const InputRules& rules,
                 Dataset& dataset);

// One input column, whatever it is.
Column read_input_column(const CsvTable& table, int column, const std::vector<std::string>& categorical);

}  // namespace medfusion::data
