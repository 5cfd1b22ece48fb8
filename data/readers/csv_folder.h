// A table in a CSV file, with or without a folder of images.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/readers/csv.h"

namespace medfusion::data {

// What the columns of a table are.
struct CsvColumns {
  std::string id_column;             // unique ids; empty: the image's name, or else row-1, row-2, ...
  std::string patient_column;        // empty: each row is a patient
  std::string image_column;          // empty: no images. A missing cell means that the row has none
  std::string text_column;           // empty: no text
  std::string part_column;           // train, val or test, for own_splits; empty: none
  std::vector<std::string> table;    // columns that are inputs; empty: all that have no other role
  std::vector<std::string> exclude;  // columns that are not inputs; they may have another role
  bool keep_constant = false;        // keeps columns of one value: of rows to apply a run to
  bool read_images = true;           // false leaves the images out; the files need not exist
};

struct CsvOptions : CsvColumns {
  std::string file = {};    // .csv or .csv.gz
  std::string images = {};  // folder that the cells of image_column start from; empty: that of the table
  std::vector<std::string> labels = {};       // columns with 0, 1, or -1 or nothing for unknown; empty: none
  std::vector<std::string> categorical = {};  // inputs that are categories although they hold numbers
};

// Missing cells: empty, ?, NA, N/A, NaN. An input column is numeric where most of its cells are numbers, and
// then every other cell must be one; else it is categorical. An input column that holds at most one known
// value is left out, with a note (Dataset::notes). Throws core::InputError naming file, line and column.
Dataset read_csv_folder(const CsvOptions& options);

// One input column as read_csv_folder reads it; `categorical` as in CsvOptions.
Column read_input_column(const CsvTable& table, int column, const std::vector<std::string>& categorical);

}  // namespace medfusion::data
