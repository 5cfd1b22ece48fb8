// Over-sampling of rare classes. Meant for the rows of the training part: a row made from another tells its
// answer, so that resampling before the split tests a network on what it has seen.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/settings.h"
#include "core/tensor.h"
#include "data/dataset.h"

namespace medfusion::data {

inline constexpr std::array kResampleMethods{"none", "random", "smote", "adasyn"};
enum class ResampleMethod : uint8_t {
  none,
  random,  // repeats rows of the rarer class
  smote,   // new rows on the segments between rows of the rarer class and their nearest ones (Chawla et al.,
           // SMOTE: synthetic minority over-sampling technique, JAIR 16, 2002)
  adasyn,  // as smote, more of them where the other class is near (He et al., ADASYN, IJCNN 2008)
};

constexpr core::Names names_of(ResampleMethod) { return kResampleMethods; }

struct ResampleOptions {
  ResampleMethod method = ResampleMethod::none;
  std::string label;
  double ratio = 1.0;
  int64_t neighbours = 5;
  bool before_split = false;
  // No settings: the place of `label` among those of the data, -1 where it is empty; and the seed of the run.
  int64_t label_index = -1;
  uint64_t seed = 1;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("method", method,
          "Over-sampling of the rarer class in the training part: `random` repeats rows, `smote` and "
          "`adasyn` make new rows (only of a table without images).");
    visit("label", label,
          "Label whose classes are balanced; if empty, rows with any positive label are balanced against "
          "rows without one.");
    visit("ratio", ratio, Range::above_to(0, 10),
          "Number of rows of the rarer class per row of the other class after over-sampling.");
    visit("neighbours", neighbours, Range::in(1, 1000),
          "Number of nearest rows that `smote` and `adasyn` use.");
    visit("before_split", before_split,
          "Resamples all data before the split. This is a mistake: the test part then holds what the network "
          "was trained on. It is refused unless `guard.allow` has `resampling`.");
  }
  void check_rules(const core::Require& require) const;
};

// A new row, `weight` of the way from row `base` to row `neighbour`.
struct SyntheticRow {
  int64_t base = 0;
  int64_t neighbour = 0;
  double weight = 0.0;  // in [0, 1)
};

// The rows to add so that the rarer class has ratio x the rows of the other; none where it has them already.
// Rows whose label is unknown count for neither class. Distances are Euclidean over features [N, F] f32 (an
// encoded table, where a missing value is 0: the mean). Every row of the rarer class starts as many segments
// as any other, to within one (smote, random); or as its share of other-class rows among its nearest
// `neighbours` rows of both classes says, equally where none has such neighbours (adasyn).
// targets: [N, L] f32. Throws core::InputError where the rarer class has no row, or only one for smote and
// adasyn.
std::vector<SyntheticRow> plan_resampling(const core::Tensor& features, const core::Tensor& targets,
                                          const std::vector<int64_t>& rows, const ResampleOptions& options);

// Appends rows to a dataset without images. Numbers lie between those of the two rows, in the units of their
// column, where both are known; all else (categories, text, targets, a number that only one of them has,
// whether it is missing) is that of the nearer row. Ids are "BASE~1", "BASE~2", ...; patient, group and part
// those of the base.
void append_rows(Dataset& dataset, const std::vector<SyntheticRow>& added);

}  // namespace medfusion::data
