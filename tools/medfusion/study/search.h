// Random search (Bergstra and Bengio, JMLR 13, 2012): the settings of each model for each fold, chosen inside
// the training part of that fold. All models get the same number of draws.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/medfusion/study/children.h"
#include "tools/medfusion/study/grid.h"

namespace medfusion::tools {

// Draw 0 is the configuration as it is: no settings. The others depend on (study.seed, draw, place of the
// key) alone, so all models and folds get the same.
std::vector<StudySetting> draw_settings(const Study& study, int64_t draw);

// Writes the inner parts of each fold (data::inner_splits) into OUT/search/DATA/parts/foldN.csv.
void prepare_search(const StudyJob& job, const StudyData& data, const data::Dataset& dataset,
                    const std::vector<int64_t>& folds);

// One job for each draw that is not scored yet: it trains the network in
// OUT/search/DATA/models/MODEL/foldN/drawK, evaluates it on the inner test part and removes its weights.
std::vector<ChildJob> search_jobs(const StudyJob& job, const StudyData& data, const StudyModel& model,
                                  int64_t folds);

// OUT/search/DATA/models/MODEL/choice.json
std::filesystem::path choice_file(const StudyJob& job, const StudyData& data, const StudyModel& model);

// Chooses the best draw of each fold (the first of equal ones), writes choice_file(), and returns the choice
// as FOLD:KEY=VALUE. Nothing where a draw is not scored yet.
std::optional<std::vector<std::string>> choose_settings(const StudyJob& job, const StudyData& data,
                                                        const StudyModel& model, int64_t folds);

}  // namespace medfusion::tools
