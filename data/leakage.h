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
    visit("targets", targets,
          "Columns that are outcomes, whether they are predicted or not: refused as inputs.");
    visit("leaking", leaking, "Columns that may give an outcome away: refused as inputs.");
    visit(
        "duplicates", duplicates,
        "Rows that repeat others, by the bytes of the image or, without one, by all columns and the text, "
        "lie in one part of a split: `auto` takes equal columns for a coincidence where more than a tenth of "
        "the rows repeat others, `always` never does, `never` does not compare rows.");
    visit("allow", allow, Range::one_of({kLeaks.begin(), kLeaks.end()}),
          "Leaks that are accepted: a target, or a column listed as leaking, as an input; a patient, or "
          "duplicated rows, in two parts of a split; resampling before the split.");
  }
  bool allows(const std::string& leak) const;
};

// Throws core::InputError where an input column is a target, holds a copy of a label (two values, each of
// which stands for one value of the label in every row of at least 20), or is listed as leaking; and where
// the rules name a column that is not in Dataset::known_columns.
void check_inputs(const Dataset& dataset, const LeakRules& rules);

// Throws core::InputError where a patient, or a row and its repeat (Dataset::repeats), lie in two
// parts.
void check_parts(const Dataset& dataset, const Splits& splits, const LeakRules& rules);

}  // namespace medfusion::data
