// Choosing among the labels of a dataset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace medfusion::data {

// Keeps the labels `wanted`, in that order (empty: all), and of these the ones with at least `min_positives`
// positives in all rows. Where a row is then left without a true label, labels that excluded each other no
// longer do, and a note says so. Throws core::InputError, which names `file`, for a label that the data does
// not have, one named twice, or where none is left.
void select_labels(Dataset& dataset, const std::vector<std::string>& wanted, int64_t min_positives,
                   const std::string& file);

// Keeps the columns `wanted`, in that order (empty: all). Throws core::InputError, which names `file`, for
// one that the data does not have.
void select_columns(Dataset& dataset, const std::vector<std::string>& wanted, const std::string& file);

// Patients trade their labels at random, always in the same way: a patient's rows take those of the rows of
// another, in order and over again where it has fewer. A patient's rows stay as alike as they were, and
// nothing that is left can be learned for patients not seen.
void shuffle_labels(Dataset& dataset);

// Throws core::InputError where `option` names something twice.
void check_distinct(const char* option, const std::vector<std::string>& names);

}  // namespace medfusion::data
