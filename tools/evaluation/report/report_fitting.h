// What a run fitted and to how many rows, and which leaks it accepted: the one source of what the report's
// sentences and its checklist say about either.
#pragma once

#include <string>
#include <vector>

#include "tools/evaluation/report/report.h"

namespace medfusion::tools {

// One thing that was fitted; HTML.
struct Fitted {
  std::string how;   // "platt, 6 of 8 labels"
  std::string on;    // "231 validation rows of 99 patients"; "nothing" where it was not fitted
  std::string note;  // what was not fitted, and why; empty where all was
};

struct FittedParts {
  Fitted preprocessing, weights, checkpoint, calibration, thresholds, risk;
};

FittedParts fitted_parts(const RunRecord& run);
// "Calibration: platt, 6 of 8 labels, fitted to 231 validation rows of 99 patients. ..."
std::string fitted_sentence(const std::string& what, const Fitted& fitted);
// All of it as a table.
Html fitted_table(const RunRecord& run);

// What guard.allow accepted and what came of it, one sentence each, HTML. Without what was allowed and did
// not happen.
std::vector<std::string> accepted_leaks(const RunRecord& run);
// The accepted leaks and what else makes the figures doubtful, as a box; empty where there is nothing.
std::string warning_box(const RunRecord& run);
// What the guard found, for the data section: accepted leaks, shared patients, notes, suspicious columns.
std::string guard_html(const RunRecord& run);

// Why a label's AUROC is what chance gives although the network was trained, or what else its table lacks:
// labels for which stage one selected nothing. HTML, empty where there is none.
std::string empty_selection_note(const RunRecord& run);

}  // namespace medfusion::tools
