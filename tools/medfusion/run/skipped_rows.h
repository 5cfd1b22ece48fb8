// Rows that data.on_error left out, as a file and as lines.
#pragma once

#include "data/dataset.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {

// Writes skipped.csv (id, file, reason) into the run; nothing where no row was left out.
void write_skipped(const RunDirectory& run, const data::Dataset& dataset);

// One line on standard error for each of them: "skipped: FILE: REASON".
void print_skipped(const data::Dataset& dataset);

}  // namespace medfusion::tools
