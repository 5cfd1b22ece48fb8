// A table in a CSV file, with or without a folder of images.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/number_writing.h"
#include "data/readers/csv.h"

namespace medfusion::data {

// What the columns of a table are.
struct CsvColumns {
  std::string id_column;       // unique ids; empty: the image's name, or else row-1, row-2, ...
  std::string patient_column;  // empty: each row is a patient
  std::string image_column;    // empty: no images. A missing cell means that the row has none
  std::string group_images;    // rows with the same cell have images of one case; empty: each its own
  std::string text_column;     // empty: no text
  std::string part_column;     // train, val or test, for own_splits; empty: none
  std::string class_column;    // each of its words is a label (csv_classes.h); empty: labels have columns
  bool exclusive = false;      // exactly one label is 1 in each row
  // In these two an asterisk stands for any characters.
  std::vector<std::string> table;    // columns that are inputs; empty: all that have no other role
  std::vector<std::string> exclude;  // columns that are not inputs; they may have another role
  CsvDialect dialect;
  DecimalMark decimal = DecimalMark::automatic;
  Uncertain uncertain = Uncertain::automatic;  // what a label of -1 is; automatic refuses it here
  BlankLabel blank = BlankLabel::automatic;    // what a label without a value is; automatic is unknown here
  bool keep_constant = false;                  // leaves no column out: of rows to apply a run to
  bool read_images = true;                     // false leaves the images out; the files need not exist
  OnError on_error = OnError::fail;            // with skip an image need not be there
};

struct CsvOptions : CsvColumns {
  std::string file = {};    // .csv or .csv.gz
  std::string images = {};  // folder that the cells of image_column start from; empty: that of the table
  std::vector<std::string> labels =
      {};  // columns read by CsvTable::label, or words of class_column; may be empty
  std::vector<std::string> categorical = {};  // inputs that are categories although they hold numbers
};

// Whether one of the names (CsvColumns::table, CsvColumns::exclude) stands for the column.
bool names_column(const std::vector<std::string>& names, std::string_view column);

// Missing cells are those of is_missing() and CsvDialect::missing; input columns are read by read_inputs().
// Dataset::notes holds what was decided: blank rows, another separator than a comma, labels of -1, columns
// left out, the inputs. Dataset::outcome_like holds inputs that neither `table` nor `categorical` names and
// of which each known cell is written like a cell of a label. Throws core::InputError naming file, line and
// column.
Dataset read_csv_folder(const CsvOptions& options);

}  // namespace medfusion::data
