// Rows that repeat others: drawn into one part of a split, for a network that has seen a row in training is
// not tested by its copy.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/dataset.h"

namespace medfusion::data {

inline constexpr std::array kDuplicateRules{"auto", "always", "never"};
enum class DuplicateRule : uint8_t {
  automatic,  // equal features count unless more than a tenth of the rows repeat others: then the table is so
              // coarse that equal rows are a coincidence
  always,     // equal features always count
  never,      // no row counts as a repeat
};
constexpr core::Names names_of(DuplicateRule) { return kDuplicateRules; }

// The first row that each row repeats, itself where it repeats none: [N]. Rows with an image are equal where
// their images show the same picture: pixels and depth; equal channels count as gray, and an opaque alpha
// channel not at all. Where the files are more than 256 MiB, and the rule is not `always`, images are equal
// where their files are, byte for byte; files are read only where sizes agree. An image that cannot be
// decoded equals those of its bytes. Rows without one are equal where all columns and the text are. `notes`
// receives what should be told: files compared by their bytes, and half of the images the same. Throws
// core::InputError naming a file that cannot be read.
std::vector<int64_t> first_equal_rows(const Dataset& dataset, DuplicateRule rule,
                                      std::vector<std::string>& notes);

// Where rows repeat others, sets Dataset::repeats, and Dataset::groups to the patients, joined where they
// share a row; a note says how many rows there are.
void group_duplicates(Dataset& dataset, DuplicateRule rule);

}  // namespace medfusion::data
