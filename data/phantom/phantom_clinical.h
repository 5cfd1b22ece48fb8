// Clinical columns of the phantom data: some tell of a finding, most tell of nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/phantom/phantom_population.h"

namespace medfusion::data {

// What a column was planted for: `feature` is the column, one of its categories ("growth=fast"), or that it
// is missing ("surgery_days is missing").
struct PlantedFeature {
  std::string column, feature;
  Finding finding = Finding::mass;
  bool higher = true;  // whether the feature is higher with the finding
};

struct Clinical {
  std::vector<Column> columns;  // one value per visit
  std::vector<PlantedFeature> planted;
  std::vector<std::string> noise;  // the columns that depend on nothing
};

// Depends on (visits, seed) alone; no column on the number of others.
Clinical draw_clinical(const std::vector<Visit>& visits, uint64_t seed);

}  // namespace medfusion::data
