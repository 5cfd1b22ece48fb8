// What the columns of a table look like, before they have roles: which could be labels, and which seem made
// of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/readers/csv.h"

namespace medfusion::data {

// How the cells of a column that could be a label are written.
enum class LabelCoding : uint8_t { none, digits, true_false, yes_no };

struct ColumnFacts {
  std::string name;
  std::vector<std::string_view> cells;  // of the table, empty where missing
  int64_t known = 0, distinct = 0;
  bool numeric = false;
  std::string why_left_out;       // as an input, by read_inputs(); or its error
  bool seems_identifier = false;  // that is why
  // Where each known cell is 0, 1, -1, true, false, yes or no.
  LabelCoding coding = LabelCoding::none;
  int64_t zeros = 0, ones = 0, uncertain = 0;  // cells; uncertain: -1

  bool could_be_label() const { return zeros > 0 && ones > 0; }
};

// In the order of the table, which must outlive them.
std::vector<ColumnFacts> column_facts(const CsvTable& table);

// Throws core::Error where no column has the name.
const ColumnFacts& facts_of(const std::vector<ColumnFacts>& columns, const std::string& name);

struct ChosenLabels {
  std::vector<std::string> columns;  // at least one
  std::string why;
  std::vector<std::string> others;  // that could be labels as well
};

// `wanted` where it names any. Else the columns that could be labels and are called so (label..., target...,
// outcome..., y, cancer, a finding of ChestX-ray14 or CheXpert, ...); else the last column that could be one,
// and its neighbours before it that are coded alike. `taken`: columns with another role.
ChosenLabels choose_labels(const CsvTable& table, const std::vector<ColumnFacts>& columns,
                           const std::vector<std::string>& taken, const std::vector<std::string>& wanted);

// Why a column looks like an outcome and not like an input; empty where it does not. It stands in one run
// with a label and is coded alike; it is called like an outcome and holds words or could be a label; or at
// least 20 rows say that it and a label go together so strictly that chance would do it less than once in a
// million.
std::string why_outcome(const std::vector<ColumnFacts>& columns, const ColumnFacts& column,
                        const std::vector<std::string>& labels);

}  // namespace medfusion::data
