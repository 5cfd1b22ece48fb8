// Images that belong together, such as both eyes of a patient.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace medfusion::data {

// Of each row the next row of the same case (Dataset::image_groups) that has an image, in the order of the
// rows and around their end; -1 where there is none. Empty where the dataset has no cases.
std::vector<int64_t> other_images_of(const Dataset& dataset);

// Throws core::InputError naming the first case whose rows are of several patients: these may lie in
// different parts of a split.
void check_image_groups(const Dataset& dataset);

}  // namespace medfusion::data
