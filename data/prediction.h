// New images, with or without a table of their metadata, as rows to predict.
#pragma once

#include <string>
#include <vector>

#include "data/open.h"
#include "data/table/table_encoder.h"

namespace medfusion::data {

// One row per image file, as list_images() finds them (data/image_rows.h). `table`, where not empty, has the
// layout of the training data: the official header for nih, the columns the options name for csv; for nih
// with an extra_table the file of that name beside it. It must hold a row for every image, found by
// rows_of_images(); without images every row of the table is one, with none present. Of a csv table only what
// the run reads is read: the columns of `encoder` (null: none), as training read them
// (TableEncoder::as_trained), and the text where `text` is true; ids may be missing where there are no
// images. With
// on_error = skip, images that cannot be read are left out (data/unreadable.h). Columns and texts stay empty
// without a table. Targets are unknown. Dataset::notes says what was left out, how rows were found, and which
// cells became missing. Throws core::InputError naming what is missing.
Dataset rows_to_predict(const DataOptions& options, const std::vector<std::string>& images,
                        const std::string& table, const TableEncoder* encoder, bool text);

}  // namespace medfusion::data
