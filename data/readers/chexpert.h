// CheXpert (Irvin et al., AAAI 2019) in the layout of its download: ROOT/train.csv and ROOT/valid.csv,
// perhaps ROOT/test.csv, with the columns Path, Sex, Age, Frontal/Lateral, AP/PA and one per observation.
#pragma once

#include <string>

#include "data/dataset.h"
#include "data/readers/csv.h"

namespace medfusion::data {

struct ChexpertOptions {
  std::string root;
  bool images = true;     // false leaves the images out; they need not exist
  Uncertain uncertain{};  // automatic: unknown
  BlankLabel blank{};     // automatic: negative
  OnError on_error{};     // with skip an image need not be there
  FileLimits limits{};
};

// One row per line. The id is Path, the patient its folder patient..., the image Path below ROOT, without its
// first folder where that is no folder of ROOT. Labels are the observations: 1, 0, and what `uncertain` and
// `blank` make of -1 and of an empty cell; automatic takes -1 for unknown and an empty cell, an observation
// that the report does not mention, for negative. Columns: Sex (Unknown is missing), Age, Frontal/Lateral,
// AP/PA. Parts: train.csv trains; valid.csv is the test part, or the validation part where there is a
// test.csv. Dataset::notes says what was decided. Throws core::InputError naming file, line and column.
Dataset read_chexpert(const ChexpertOptions& options);

}  // namespace medfusion::data
