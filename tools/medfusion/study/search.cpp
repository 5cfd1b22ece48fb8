#include "tools/medfusion/study/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/file.h"
#include "core/random.h"
#include "tools/evaluation/measures/compare_models.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kSearchStream = 0x5ea7c400;  // and the place of the key

fs::path parts_file(const StudyJob& job, const StudyData& data, int64_t fold) {
  return job.out / "search" / data.name / "parts" / fmt::format("fold{}.csv", fold);
}

fs::path model_folder(const StudyJob& job, const StudyData& data, const StudyModel& model) {
  return choice_file(job, data, model).parent_path();
}

// The part of each row, for data.split_file.
std::string parts_csv(const data::Dataset& dataset, const data::Splits& splits) {
  std::vector<const char*> part(dataset.ids.size(), "none");
  for (const int64_t row : splits.train) part[static_cast<size_t>(row)] = "train";
  for (const int64_t row : splits.test) part[static_cast<size_t>(row)] = "test";
  std::string csv = "id,part\n";
  for (size_t row = 0; row < part.size(); ++row)
    csv += fmt::format("{},{}\n", csv_cell(dataset.ids[row]), part[row]);
  return csv;
}

// One draw of one model on one fold.
struct Trial {
  const StudyJob* job;
  const StudyData* data;
  const StudyModel* model;
  int64_t fold, draw;

  fs::path folder() const {
    return model_folder(*job, *data, *model) / fmt::format("fold{}", fold) / fmt::format("draw{}", draw);
  }
  fs::path run() const { return folder() / "run"; }
  bool is_scored() const { return fs::exists(run() / "evaluation.json"); }

  Config config() const {
    Config config = study_config(job->study, *data, *model, draw_settings(job->study, draw));
    config.seed = job->study.options.seeds.front();
    config.data.split.kind = data::SplitKind::file;
    config.data.split.file = fs::absolute(parts_file(*job, *data, fold)).string();
    config.evaluation.controls.clear();
    return config;
  }

  // Training, or going on with it, then the evaluation, then nothing.
  std::vector<std::string> next() const {
    if (is_scored()) {
      remove_weights();
      return {};
    }
    write_or_check(folder(), "trial", config(), {}, model->init);
    std::vector<std::string> arguments;
    if (!RunDirectory::has_begun(run())) {
      arguments = {"train", (folder() / "trial.toml").string(), "--out", run().string()};
      if (!model->init.empty()) arguments.insert(arguments.end(), {"--init", model->init});
    } else if (!RunDirectory::reopen(run()).is_finished()) {
      arguments = {"train", "--resume", run().string()};
    } else {
      arguments = {"eval", run().string(), "--bootstrap", "0"};
    }
    for (std::string& each : child_options(*job)) arguments.push_back(std::move(each));
    return arguments;
  }

  // The primary measure on the inner test part; NaN where it is undefined.
  double score() const {
    const std::string file = (run() / "evaluation.json").string();
    const Json json = parse_json(read_file(file), file);
    const Json value =
        json.value(Json::json_pointer("/macro/" + job->study.options.measure + "/value"), Json());
    return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  // Many draws on many folds would fill the disk.
  void remove_weights() const {
    std::error_code none;
    for (const char* name : {"best.safetensors", "last.safetensors", "checkpoints"})
      fs::remove_all(run() / name, none);
  }
};

}  // namespace

fs::path choice_file(const StudyJob& job, const StudyData& data, const StudyModel& model) {
  return job.out / "search" / data.name / "models" / model.name / "choice.json";
}

std::vector<StudySetting> draw_settings(const Study& study, int64_t draw) {
  std::vector<StudySetting> settings;
  if (draw == 0) return settings;
  for (size_t i = 0; i < study.search.size(); ++i) {
    const core::Philox philox(static_cast<uint64_t>(study.options.seed), kSearchStream + i);
    const SearchRange& range = study.search[i];
    const double uniform = static_cast<double>(philox.uniform(static_cast<uint64_t>(draw)));
    settings.push_back({range.key, range.draw(uniform), range.place});
  }
  return settings;
}

void prepare_search(const StudyJob& job, const StudyData& data, const data::Dataset& dataset,
                    const std::vector<int64_t>& folds) {
  const StudyOptions& options = job.study.options;
  const int64_t count = *std::max_element(folds.begin(), folds.end()) + 1;
  for (int64_t fold = 0; fold < count; ++fold) {
    const auto splits =
        data::inner_splits(dataset, folds, fold, options.inner_fraction, static_cast<uint64_t>(options.seed));
    const fs::path file = parts_file(job, data, fold);
    fs::create_directories(file.parent_path());
    core::write_file(file.string(), parts_csv(dataset, splits), true);
  }
}

std::vector<ChildJob> search_jobs(const StudyJob& job, const StudyData& data, const StudyModel& model,
                                  int64_t folds) {
  std::vector<ChildJob> jobs;
  for (int64_t fold = 0; fold < folds; ++fold) {
    for (int64_t draw = 0; draw < job.study.options.trials; ++draw) {
      const Trial trial{&job, &data, &model, fold, draw};
      if (trial.is_scored()) {
        write_or_check(trial.folder(), "trial", trial.config(), {}, model.init);
        trial.next();
        continue;
      }
      jobs.push_back({fmt::format("{}/{} fold {} draw {}", data.name, model.name, fold, draw),
                      trial.folder() / "output.log", [trial] { return trial.next(); }});
    }
  }
  return jobs;
}

std::optional<std::vector<std::string>> choose_settings(const StudyJob& job, const StudyData& data,
                                                        const StudyModel& model, int64_t folds) {
  const StudyOptions& options = job.study.options;
  const double sign = larger_is_better(measure_of(options.measure)) ? 1.0 : -1.0;
  std::vector<std::string> chosen;
  Json json{{"measure", options.measure}, {"trials", options.trials}, {"folds", Json::array()}};
  for (int64_t fold = 0; fold < folds; ++fold) {
    Json scores = Json::array();
    int64_t best = 0;
    double highest = -std::numeric_limits<double>::infinity();
    for (int64_t draw = 0; draw < options.trials; ++draw) {
      const Trial trial{&job, &data, &model, fold, draw};
      if (!trial.is_scored()) return std::nullopt;
      const double score = trial.score();
      scores.push_back(number_or_null(score));
      if (sign * score > highest) best = draw, highest = sign * score;
    }
    Json settings = Json::object();
    for (const StudySetting& each : draw_settings(job.study, best)) {
      settings[each.key] = each.value;
      chosen.push_back(fmt::format("{}:{}={}", fold, each.key, each.value));
    }
    json["folds"].push_back({{"fold", fold}, {"draw", best}, {"settings", settings}, {"scores", scores}});
  }
  core::write_file(choice_file(job, data, model).string(), to_text(json, 2) + "\n", true);
  return chosen;
}

}  // namespace medfusion::tools
