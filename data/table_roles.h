// The roles of a table's columns where nobody named them: for the first configuration of new data. Each rule
// is stated in docs/init.md; each choice carries its reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/readers/csv.h"

namespace medfusion::data {

struct LeftOutColumn {
  std::string name, why;
  bool outcome = false;  // looks like an outcome, or like something made of the labels
};

struct TableRoles {
  // Columns, empty where there is none, each with the rule that chose it (or why none was).
  struct Choice {
    std::string column, why;
  };
  Choice image, id, patient, text, part, labels;  // of `labels` only the reason
  std::string image_folder;                       // that the cells of the image column start from
  std::vector<std::string> label_columns;
  std::vector<std::string> inputs;
  std::vector<LeftOutColumn> left_out;
  std::vector<std::string> more_labels;  // columns that could be labels as well
  std::vector<std::string> more_inputs;  // of the inputs: those that are coded as the labels are
};

// `images`: a folder that an image column must lie in, or empty. `labels`: columns, or empty to choose.
// Throws core::InputError where no column names files of `images`, where some rows lack theirs, where no
// column can be a label, and where `labels` names a column that is none.
TableRoles choose_roles(const CsvTable& table, const std::string& images,
                        const std::vector<std::string>& labels);

// Words of the table that say that a value is not known, beside those of is_missing(): "UNK", "unknown", "not
// known", "not available", "missing", "-", in any case, as the table writes them.
std::vector<std::string> words_for_missing(const CsvTable& table);

}  // namespace medfusion::data
