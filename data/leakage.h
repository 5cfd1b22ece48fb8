// The guard against leaks: what would let a network see the answer, or its own test, in training. Each
// refusal is one line that names what was found and the word of `allow` that accepts it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/dataset.h"
#include "data/duplicates.h"

namespace medfusion::data {

// The words of LeakRules::allow.
inline constexpr std::array kLeaks{"target", "leaking", "patient", "duplicate", "resampling"};

struct LeakRules {
  std::vector<std::string> targets;
  std::vector<std::string> leaking;
  DuplicateRule duplicates = DuplicateRule::automatic;
  std::vector<std::string> allow;
  std::string file;  // that errors carry; no setting

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("targets", targets, "Columns that are outcomes, predicted or not; they are refused as inputs.");
    visit("leaking", leaking, "Columns that may reveal an outcome; they are refused as inputs.");
    visit(
        "duplicates", duplicates,
        "Which equal rows must lie in one part of a split. Rows with an image are equal if their images "
        "have the same pixels, rows without one if all columns and the text are equal. `always` counts all "
        "of them. `auto` counts equal columns only if at most a tenth of the rows repeat others; else they "
        "are a coincidence; and it compares the bytes of image files if they are more than 256 MiB. `never` "
        "does not compare rows.");
    visit(
        "allow", allow, Range::one_of({kLeaks.begin(), kLeaks.end()}),
        "Leaks that are accepted: `target` and `leaking` (such a column is an input), `patient` and "
        "`duplicate` (a patient, or equal rows, in two parts of a split), `resampling` (before the split).");
  }
  bool allows(const std::string& leak) const;
};

// Throws core::InputError where an input column is a target, holds a copy of a label (two values, each of
// which stands for one value of the label in every row of at least 20), is listed as leaking, or may be an
// outcome (Dataset::outcome_like; one line names them all); and where the rules name a column that is not in
// Dataset::known_columns.
void check_inputs(const Dataset& dataset, const LeakRules& rules);

// Patients whose names differ in the way they are written (blanks around them, capital letters, and of whole
// numbers zeros in front or `.0` behind: 12, 12.0, 00012; P12, p12) become one, by the spelling that comes
// first. Dataset::patient_spellings keeps the others, and a note counts them.
void join_patients(Dataset& dataset);

// Of two rows of one patient: "patient 'a' lies in two parts", or with both spellings where they differ.
std::string in_two_parts_text(const Dataset& dataset, size_t earlier, size_t row);

// Throws core::InputError where a patient, or a row and its repeat (Dataset::repeats), lie in two
// parts.
void check_parts(const Dataset& dataset, const Splits& splits, const LeakRules& rules);

}  // namespace medfusion::data
