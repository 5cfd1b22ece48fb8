// What a network's linear model of the table begins with.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "models/table_head.h"

namespace medfusion::optim {

// Fits the head to the training rows (their table and targets): logistic regression of each label on what it
// reads, with unknown targets left out. The ridge penalty is, for each label, the one of kTableRidges whose
// cross-entropy on rows left out is least, in kTableFolds folds by `groups` (of each row; such as patients).
// The intercepts go to `logits` [labels], in place of a prior. A label that has one class only, or whose fit
// does not converge, keeps weights of 0 and its prior, and is named in the result. Of more than kTableFitRows
// rows it reads so many, evenly spread.
inline constexpr std::array kTableRidges{1.0, 3.0, 10.0, 30.0, 100.0};
inline constexpr int64_t kTableFolds = 4;
inline constexpr int64_t kTableFitRows = 20000, kTableChoiceRows = 4000;
std::vector<int64_t> fit_table_head(models::TableHead& head, const core::Batch& rows,
                                    const std::vector<std::string>& groups, core::Tensor& logits);

}  // namespace medfusion::optim
