// What a study trains: one cross-validation for each data, model and seed, and its folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tools/medfusion/config/study_file.h"

namespace medfusion::tools {

// How a study is run.
struct StudyJob {
  Study study;
  std::filesystem::path out;
  int64_t jobs = 1;     // children at once
  int64_t threads = 1;  // of each child
  std::string device = "auto";
  std::vector<std::string> kernels = {};  // OPERATION=VARIANT
  bool quiet = false;
  std::string command = {};  // that goes on with it, for messages
};

// The folds of one data set, the same for all models and seeds, in a file.
struct StudyFolds {
  std::filesystem::path file;
  int64_t count = 0;
};

// Opens the data, draws or reads its folds, and writes them into OUT/data/NAME/folds.csv. Throws
// core::InputError where the file is there and holds others: the data have changed.
StudyFolds prepare_folds(const StudyJob& job, const StudyData& data, const data::Dataset& dataset,
                         const std::vector<int64_t>& folds);

// One cross-validation.
struct StudyCell {
  const StudyData* data;
  const StudyModel* model;
  int64_t seed;
  std::filesystem::path folder;       // OUT/cells/DATA/MODEL/seedN
  std::vector<std::string> fold_set;  // FOLD:KEY=VALUE, what the search has chosen

  std::string name() const;  // "pad/full seed 1"
  bool is_finished() const;
};

// By data, then seed, then model: early results compare models.
std::vector<StudyCell> cells_of(const StudyJob& job);

// Writes what the cell is to be (cell.json, cell.toml), or throws core::InputError where the folder holds a
// cell of another configuration or version, naming what differs.
void prepare_cell(const StudyJob& job, const StudyCell& cell, const StudyFolds& folds);

// The arguments that begin the cell, or go on with it.
std::vector<std::string> cell_command(const StudyJob& job, const StudyCell& cell);

// Options that every child gets: --quiet, --threads, --device.
std::vector<std::string> child_options(const StudyJob& job);

// Writes a configuration, or throws core::InputError where `folder` holds NAME.json of another one.
void write_or_check(const std::filesystem::path& folder, const std::string& name, const Config& config,
                    const std::vector<std::string>& fold_set, const std::string& init);

}  // namespace medfusion::tools
