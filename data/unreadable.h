// Rows whose image cannot be read (data.on_error).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace medfusion::data {

// Keeps these rows, ascending, of all that a reader gives per row. What open_dataset() finds out of them
// later (spellings of patients, groups, repeats) must not be there yet.
void keep_rows(Dataset& dataset, const std::vector<int64_t>& rows);

// The row as one that is left out, for its image cannot be read; `fault` is the message of core::InputError.
SkippedRow skipped_row(const Dataset& dataset, int64_t row, std::string fault);

// Decodes every image once that no pack holds, and leaves out the rows where that fails: Dataset::skipped
// lists them, a note counts them, and the hash takes them up. Throws core::InputError, naming the first of
// them, where more than the share `most` of the rows fails, or all.
void skip_unreadable(Dataset& dataset, double most = 1.0);

}  // namespace medfusion::data
