// STUDY.toml: which models are compared on which data, and how (docs/study.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

// The section [study].
struct StudyOptions {
  std::string reference;
  int64_t folds = 0;
  std::vector<int64_t> seeds = {1};
  std::string measure = "auroc";
  int64_t trials = 0;
  double inner_fraction = 0.2;
  int64_t resamples = 1000;
  int64_t seed = 1;

  void visit_fields(core::FieldVisitor& visit);
};

// A key of a configuration with its value as TOML.
struct StudySetting {
  std::string key, value;
  std::string place;  // "study.toml:12:5", for errors
};

// [data.NAME]
struct StudyData {
  std::string name;
  std::string config;  // a file, or the name of a ready configuration
  std::vector<StudySetting> settings = {};
};

// [models.NAME]
struct StudyModel {
  std::string name;
  std::string init;  // initial weights; empty: drawn at random
  std::vector<StudySetting> settings = {};
};

// One line of [search]: how the value of a key is drawn.
struct SearchRange {
  std::string key;
  std::string place;
  std::vector<std::string> choices = {};  // as TOML; empty: a number in [low, high]
  double low = 0.0, high = 0.0;
  bool log = false;    // uniform in the logarithm
  bool whole = false;  // both ends are integers: whole numbers are drawn

  // What a number in [0, 1) draws, as TOML.
  std::string draw(double uniform) const;
};

struct Study {
  std::string file;
  StudyOptions options;
  std::vector<StudyData> data;
  std::vector<StudyModel> models;  // the reference is one of them
  std::vector<SearchRange> search;

  // Place of the reference among the models.
  size_t reference() const;
};

// Reads and checks it. Throws core::InputError with file, line and column: what is unknown, missing or out of
// range; a model that changes rows, labels, folds or seeds, which all models share.
Study read_study(const std::string& file);

// The configuration of a model on data, with more settings where the search gives some. The split is "folds".
Config study_config(const Study& study, const StudyData& data, const StudyModel& model,
                    const std::vector<StudySetting>& more = {});

}  // namespace medfusion::tools
