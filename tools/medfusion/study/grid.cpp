#include "tools/medfusion/study/grid.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/cross_validation.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Keys that may differ between a cell and what the study asks for: results do not depend on them.
bool changes_nothing(const std::string& key) {
  return key == "threads" || key == "train.workers" || key == "data.pack" || key == "data.folds" ||
         key == "data.split_file" || key == "data.root";
}

// What a run is made by, as NAME.json holds it.
Json describe_job(Config config, const std::vector<std::string>& fold_set, const std::string& init) {
  Json json{{"medfusion", MEDFUSION_VERSION}, {"init", init}, {"fold_set", fold_set}};
  for (const core::Field& field : core::fields_of(config)) {
    if (!changes_nothing(field.name)) json["config"][field.name] = format_value(field.value);
  }
  return json;
}

// Of the first value that differs: "train.epochs was 1, is 2"; empty where none does.
std::string difference(const Json& before, const Json& now) {
  for (const char* key : {"medfusion", "init", "fold_set"}) {
    const Json was = before.value(key, Json());
    if (was != now[key]) return fmt::format("{} was {}, is {}", key, was.dump(), now[key].dump());
  }
  for (const auto& [key, value] : now["config"].items()) {
    const Json was = before.value("config", Json::object()).value(key, Json());
    if (was != value)
      return fmt::format("{} was {}, is {}", key, was.is_string() ? was.get<std::string>() : "not there",
                         value.get<std::string>());
  }
  return "";
}

}  // namespace

void write_or_check(const fs::path& folder, const std::string& name, const Config& config,
                    const std::vector<std::string>& fold_set, const std::string& init) {
  const fs::path record = folder / (name + ".json");
  const Json now = describe_job(config, fold_set, init);
  if (fs::exists(record)) {
    const std::string what = difference(parse_json(read_file(record), record.string()), now);
    if (what.empty()) return;
    core::throw_input_error({folder.string()},
                            "holds what another study has trained: {}; remove it to train it anew, or choose "
                            "another folder with --out",
                            what);
  }
  fs::create_directories(folder);
  core::write_file((folder / (name + ".toml")).string(), to_toml(config), true);
  core::write_file(record.string(), to_text(now, 2) + "\n", true);
}

StudyFolds prepare_folds(const StudyJob& job, const StudyData& data, const data::Dataset& dataset,
                         const std::vector<int64_t>& folds) {
  const fs::path folder = job.out / "data" / data.name, file = folder / "folds.csv";
  const std::string before = fs::exists(file) ? read_file(file) : "";
  Config unused;
  const StudyFolds result{fs::absolute(file), *std::max_element(folds.begin(), folds.end()) + 1};
  if (before.empty()) {
    write_folds(folder, dataset, folds, unused);
  } else if (before != folds_csv(dataset, folds)) {
    core::throw_input_error({file.string()},
                            "the rows of {} or their folds are no longer those that the study began with; "
                            "choose another folder with --out",
                            data.name);
  }
  return result;
}

std::string StudyCell::name() const { return fmt::format("{}/{} seed {}", data->name, model->name, seed); }

bool StudyCell::is_finished() const { return fs::exists(folder / "cv.json"); }

std::vector<StudyCell> cells_of(const StudyJob& job) {
  std::vector<StudyCell> cells;
  for (const StudyData& data : job.study.data) {
    for (const int64_t seed : job.study.options.seeds) {
      for (const StudyModel& model : job.study.models) {
        cells.push_back({&data,
                         &model,
                         seed,
                         job.out / "cells" / data.name / model.name / fmt::format("seed{}", seed),
                         {}});
      }
    }
  }
  return cells;
}

void prepare_cell(const StudyJob& job, const StudyCell& cell, const StudyFolds& folds) {
  Config config = study_config(job.study, *cell.data, *cell.model);
  config.seed = cell.seed;
  config.data.split.folds = folds.file.string();
  write_or_check(cell.folder, "cell", config, cell.fold_set, cell.model->init);
}

std::vector<std::string> child_options(const StudyJob& job) {
  std::vector<std::string> arguments{"--quiet", "--threads", std::to_string(job.threads), "--device",
                                     job.device};
  for (const std::string& each : job.kernels) {
    arguments.emplace_back("--kernel");
    arguments.push_back(each);
  }
  return arguments;
}

std::vector<std::string> cell_command(const StudyJob& job, const StudyCell& cell) {
  std::vector<std::string> arguments{"cv"};
  if (fs::exists(cell.folder / "cv.toml")) {
    arguments.insert(arguments.end(), {"--resume", cell.folder.string()});
  } else {
    arguments.insert(arguments.end(), {(cell.folder / "cell.toml").string(), "--out", cell.folder.string()});
    if (!cell.model->init.empty()) arguments.insert(arguments.end(), {"--init", cell.model->init});
    for (const std::string& each : cell.fold_set) {
      arguments.emplace_back("--fold-set");
      arguments.push_back(each);
    }
  }
  for (std::string& each : child_options(job)) arguments.push_back(std::move(each));
  return arguments;
}

}  // namespace medfusion::tools
