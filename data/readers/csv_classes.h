// Labels of a table of which exactly one is true of a row: a column of words, or a column of 0 and 1 for
// each.
#pragma once

#include "data/dataset.h"
#include "data/readers/csv.h"
#include "data/readers/csv_folder.h"

namespace medfusion::data {

inline constexpr size_t kMostClasses = 1000;

// Labels and targets of the column options.class_column: a label for each of its words, in byte order, or
// options.labels in their order. A row with a missing cell has no known label. A note counts the rows of each
// word. Throws core::InputError where a word is not among options.labels, or where there are fewer than two
// words or more than kMostClasses.
void read_classes(const CsvTable& table, const CsvOptions& options, Dataset& dataset);

// Throws core::InputError naming file and line at the first row all of whose labels are known and of which
// not exactly one is true.
void check_exclusive(const CsvTable& table, const CsvOptions& options, const Dataset& dataset);

}  // namespace medfusion::data
