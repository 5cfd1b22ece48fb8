// The guard against leaks: what would let a network see the answer, or its own test, in training. Each
// refusal is one line that names what was found and the word of `allow` that accepts it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace medfusion::data {

// The words of LeakRules::allow.
inline constexpr std::array kLeaks{"target", "leaking", "patient", "duplicate", "resampling"};

struct LeakRules {
  std::vector<std::string> targets;  // columns that are outcomes, whether they are predicted or not
  std::vector<std::string> leaking;  // columns that may give an outcome away
  std::vector<std::string> allow;    // of kLeaks: what is accepted
  std::string file;                  // that errors carry

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
