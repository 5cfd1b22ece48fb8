#include "tools/medfusion/run/skipped_rows.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/tell.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/ranks.h"

namespace medfusion::tools {

void write_skipped(const RunDirectory& run, const data::Dataset& dataset) {
  if (dataset.skipped.empty() || !is_speaker()) return;
  std::string csv = "id,file,reason\n";
  for (const data::SkippedRow& row : dataset.skipped)
    csv += fmt::format("{},{},{}\n", csv_cell(row.id), csv_cell(row.file), csv_cell(row.reason));
  core::write_file(run.file("skipped.csv").string(), csv);
}

void print_skipped(const data::Dataset& dataset) {
  for (const data::SkippedRow& row : dataset.skipped) core::tell("skipped: {}: {}\n", row.file, row.reason);
}

}  // namespace medfusion::tools
