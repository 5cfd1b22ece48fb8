// What a network's linear model of the table begins with.
#pragma once

#include <cstdint>
#include <vector>

#include "models/table_head.h"

namespace medfusion::optim {

// Fits the head to the training rows (their table and targets): logistic regression of each label on what it
// reads, with a ridge of kTableRidge on inputs as the head has them, and with unknown targets left out. The
// intercepts go to `logits` [labels], in place of a prior. A label that has one class only, or whose fit does
// not converge, keeps weights of 0 and its prior, and is named in the result. Of more than kTableFitRows rows
// it reads so many, evenly spread.
inline constexpr double kTableRidge = 1.0;
inline constexpr int64_t kTableFitRows = 50000;
std::vector<int64_t> fit_table_head(models::TableHead& head, const core::Batch& rows, core::Tensor& logits);

}  // namespace medfusion::optim
