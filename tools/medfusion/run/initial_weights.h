// What a training run starts from.
#pragma once

#include "core/tensor.h"
#include "models/network.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/training_rows.h"
#include "tools/medfusion/run/weights_metadata.h"

namespace medfusion::tools {

// Of the backbone's parameters: `train --init` refuses a file that gives fewer, unless --init-partial.
inline constexpr double kLeastInitialShare = 0.5;

// Random weights, biases by the prevalence in `targets` (of the training rows), the linear model of the table
// fitted to these rows, then what job.init holds, mapped by name; `own` is the metadata of this
// run. What was loaded, what starts anew and what was not used goes to the log and, unless the job is quiet,
// to standard error. Throws core::InputError where the file gives less than the share above or, where
// train.epochs = 0 trains nothing, where anything starts anew; neither with job.init_partial.
void initialize(models::Network& network, const TrainingJob& job, const TrainingRows& rows,
                const core::Tensor& targets, const Metadata& own, const RunDirectory& run);

}  // namespace medfusion::tools
