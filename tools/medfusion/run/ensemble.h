// Networks that predict together: those of a cross-validation, or several runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// The runs of the folds, of all seeds, where `folder` is a cross-validation (medfusion cv); nothing where it
// is none. Throws core::InputError where it is not finished, or compares protocols (--protocol).
std::vector<std::filesystem::path> members_of(const std::filesystem::path& folder);

// What the mean of the members' logits is read with: calibration, thresholds and risk levels, fitted to the
// predictions out of fold of all seeds, as those of a run are to its validation part. A row's prediction out
// of fold is by one network and not by the mean, so they are fitted to single networks. Of `first`, one of
// the members, it takes all else.
Preprocessing fit_to_folds(const std::filesystem::path& folder, const TrainedRun& first);

// The same for runs that were trained apart, as with several seeds: fitted to the mean of their logits on the
// validation part, which is read again and must be the same rows in all. Throws core::InputError where it is
// not, or where labels or output differ.
// `first` is the first of them; the others are opened one after another.
Preprocessing fit_to_runs(const std::vector<std::string>& runs, const TrainedRun& first);

// Predictions of the members for the same rows, whose logits become their mean; probabilities follow by
// `run`.
optim::Predictions average_predictions(const std::vector<optim::Predictions>& members, const TrainedRun& run);

}  // namespace medfusion::tools
