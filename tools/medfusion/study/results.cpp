#include "tools/medfusion/study/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/file.h"
#include "data/statistics/rank_tests.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/compare_models.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/study/search.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using data::Mean;

Json read_json_file(const fs::path& path) { return parse_json(read_file(path), path.string()); }

// What one cell gives.
struct CellResult {
  const StudyCell* cell;
  FoldedPredictions cv;  // of its seed
};

FoldedPredictions read_cell(const StudyCell& cell) {
  auto cv = read_cross_validation(cell.folder.string());
  if (!cv) core::throw_input_error({cell.folder.string()}, "expected cv.json, there is none");
  return std::move(*cv);
}

int64_t fold_count(const FoldedPredictions& cv) {
  return *std::max_element(cv.folds.front().begin(), cv.folds.front().end()) + 1;
}

int64_t bins_of(const StudyJob& job, const StudyCell& cell) {
  return study_config(job.study, *cell.data, *cell.model).evaluation.bins;
}

// The lines of results.csv of one cell; an undefined value is an empty cell.
std::string result_lines(const StudyJob& job, const CellResult& result) {
  const StudyCell& cell = *result.cell;
  const auto folds = fold_measures(result.cv, 0, bins_of(job, cell));
  std::string lines;
  for (size_t fold = 0; fold < folds.size(); ++fold) {
    for (const Measure measure : kMeasures) {
      const double value = folds[fold][measure];
      lines += fmt::format("{},{},{},{},{},{}\n", cell.data->name, cell.model->name, cell.seed, fold,
                           name_of(measure), std::isnan(value) ? "" : fmt::format("{}", value));
    }
  }
  return lines;
}

// cost.json of each fold.
std::vector<Json> costs_of(const CellResult& result) {
  std::vector<Json> costs;
  for (int64_t fold = 0; fold < fold_count(result.cv); ++fold)
    costs.push_back(read_json_file(result.cell->folder / fmt::format("fold{}", fold) / "cost.json"));
  return costs;
}

std::string cost_lines(const CellResult& result) {
  std::string lines;
  const auto costs = costs_of(result);
  for (size_t fold = 0; fold < costs.size(); ++fold) {
    const Json& cost = costs[fold];
    lines +=
        fmt::format("{},{},{},{},{},{},{:.3f},{:.6f},{}\n", result.cell->data->name, result.cell->model->name,
                    result.cell->seed, fold, cost.at("parameters").get<int64_t>(),
                    cost.contains("flops") ? std::to_string(cost.at("flops").get<int64_t>()) : "",
                    cost.at("training_seconds").get<double>(),
                    cost.at("predict_seconds").get<double>() / std::max(1.0, cost.at("rows").get<double>()),
                    cost.at("peak_resident_bytes").get<int64_t>());
  }
  return lines;
}

// Means over all networks of a model; the highest memory.
Json cost_json(const std::vector<const CellResult*>& results) {
  Mean parameters, training, predicting, flops;
  int64_t peak = 0;
  bool counted = true;  // earlier versions did not count
  for (const CellResult* result : results) {
    for (const Json& cost : costs_of(*result)) {
      parameters.add(cost.at("parameters").get<double>());
      training.add(cost.at("training_seconds").get<double>());
      predicting.add(cost.at("predict_seconds").get<double>() / std::max(1.0, cost.at("rows").get<double>()));
      counted &= cost.contains("flops");
      flops.add(cost.value("flops", 0.0));
      peak = std::max(peak, cost.at("peak_resident_bytes").get<int64_t>());
    }
  }
  return {{"parameters", std::llround(parameters.value())},
          {"flops", counted ? Json(std::llround(flops.value())) : Json()},
          {"training_seconds", training.value()},
          {"predict_seconds_per_row", predicting.value()},
          {"peak_resident_bytes", peak}};
}

// [[epoch, mean over folds and seeds of the validation macro AUROC, how many networks have the epoch], ...]
Json history_json(const std::vector<const CellResult*>& results) {
  std::map<int64_t, Mean> epochs;
  for (const CellResult* result : results) {
    for (int64_t fold = 0; fold < fold_count(result->cv); ++fold) {
      const fs::path file = result->cell->folder / fmt::format("fold{}", fold) / "metrics.jsonl";
      if (!fs::exists(file)) continue;
      std::istringstream lines(read_file(file));
      for (std::string line; std::getline(lines, line);) {
        const Json json = parse_json(line, file.string());
        const Json auroc = json.value(Json::json_pointer("/val/macro/auroc"), Json());
        if (auroc.is_number()) epochs[json.at("epoch").get<int64_t>()].add(auroc.get<double>());
      }
    }
  }
  Json json = Json::array();
  for (const auto& [epoch, mean] : epochs) json.push_back({epoch, mean.value(), mean.count()});
  return json;
}

// The seeds of a model together.
FoldedPredictions merged(const std::vector<const CellResult*>& results) {
  FoldedPredictions all;
  for (const CellResult* each : results) {
    all.seeds.push_back(each->cv.seeds.front());
    all.predictions.push_back(each->cv.predictions.front());
    all.folds.push_back(each->cv.folds.front());
  }
  return all;
}

// Results by data and model.
class Grid {
 public:
  Grid(const StudyJob& job, const std::vector<StudyCell>& cells) : job_(job) {
    for (const StudyCell& cell : cells) {
      if (cell.is_finished()) {
        results_.push_back({&cell, read_cell(cell)});
      } else {
        unfinished_.push_back(cell.name());
      }
    }
  }

  void write_tables() const {
    std::string results = "data,model,seed,fold,measure,value\n";
    std::string costs =
        "data,model,seed,fold,parameters,flops,training_seconds,predict_seconds_per_row,peak_resident_"
        "bytes\n";
    for (const CellResult& each : results_) {
      results += result_lines(job_, each);
      costs += cost_lines(each);
    }
    core::write_file((job_.out / "results.csv").string(), results, true);
    core::write_file((job_.out / "costs.csv").string(), costs, true);
  }

  const std::vector<std::string>& unfinished() const { return unfinished_; }

  // {"undefined": why} where there is nothing to compare.
  Json data_json(const StudyData& data) const {
    std::vector<ComparedModel> models;
    Json extra = Json::object(), left_out = Json::array();
    size_t reference = 0;
    bool has_reference = false;
    for (const StudyModel& model : job_.study.models) {
      const auto own = of(data, model);
      if (own.size() < job_.study.options.seeds.size()) {
        left_out.push_back(model.name);
        continue;
      }
      if (model.name == job_.study.options.reference) has_reference = true, reference = models.size();
      models.push_back({model.name, merged(own)});
      extra[model.name] = {{"costs", cost_json(own)}, {"history", history_json(own)}};
      if (job_.study.options.trials > 0)
        extra[model.name]["choice"] = read_json_file(choice_file(job_, data, model));
    }
    if (!has_reference) return {{"undefined", "the reference is not finished"}, {"left_out", left_out}};
    EvaluationOptions options;
    options.bins = study_config(job_.study, data, job_.study.models.front()).evaluation.bins;
    options.resamples = job_.study.options.resamples;
    options.seed = static_cast<uint64_t>(job_.study.options.seed);
    Json json = compare_models(models, reference, measure_of(job_.study.options.measure), options);
    for (auto& [name, model] : json["models"].items()) model.update(extra[name]);
    json["left_out"] = left_out;
    return json;
  }

 private:
  std::vector<const CellResult*> of(const StudyData& data, const StudyModel& model) const {
    std::vector<const CellResult*> found;
    for (const CellResult& each : results_) {
      if (each.cell->data == &data && each.cell->model == &model) found.push_back(&each);
    }
    return found;
  }

  const StudyJob& job_;
  std::vector<CellResult> results_;
  std::vector<std::string> unfinished_;
};

// Average ranks of the models over all folds of all data.
Json ranks_json(const StudyJob& job, const Json& data) {
  const double sign = larger_is_better(measure_of(job.study.options.measure)) ? 1.0 : -1.0;
  std::vector<std::vector<double>> blocks;
  for (const auto& [name, each] : data.items()) {
    if (!each.contains("models") || !each.at("left_out").empty())
      return {{"undefined", "not every model is finished on " + name}};
    for (size_t fold = 0; fold < each.at("folds").get<size_t>(); ++fold) {
      std::vector<double>& scores = blocks.emplace_back();
      for (const auto& [model, values] : each.at("models").items()) {
        const Json& value = values.at("per_fold").at(fold);
        if (!value.is_number())
          return {{"undefined", fmt::format("{} has no value on fold {} of {}", model, fold, name)}};
        scores.push_back(sign * value.get<double>());
      }
    }
  }
  const std::vector<double> ranks = data::average_ranks(blocks);
  const auto count = static_cast<int64_t>(blocks.size());
  const data::FriedmanTest test = data::friedman(ranks, count);
  Json json{{"blocks", count},
            {"friedman", {{"statistic", test.statistic}, {"p_value", test.p_value}}},
            {"critical_difference", data::nemenyi_difference(static_cast<int64_t>(ranks.size()), count)}};
  for (size_t i = 0; i < ranks.size(); ++i) json["ranks"][job.study.models[i].name] = ranks[i];
  return json;
}

}  // namespace

Json study_results(const StudyJob& job, const std::vector<StudyCell>& cells) {
  const Grid grid(job, cells);
  grid.write_tables();
  const StudyOptions& options = job.study.options;
  Json json{{"schema", 1},
            {"medfusion", MEDFUSION_VERSION},
            {"name", fs::path(job.study.file).stem().string()},
            {"reference", options.reference},
            {"measure", options.measure},
            {"seeds", options.seeds},
            {"trials", options.trials},
            {"resamples", options.resamples},
            {"unfinished", grid.unfinished()}};
  for (const StudyModel& model : job.study.models) {
    Json& settings = json["models"][model.name] = Json::object();
    if (!model.init.empty()) settings["init"] = model.init;
    for (const StudySetting& each : model.settings) settings[each.key] = each.value;
  }
  for (const StudyData& data : job.study.data) json["data"][data.name] = grid.data_json(data);
  json["ranking"] = ranks_json(job, json["data"]);
  core::write_file((job.out / "study.json").string(), to_text(json, 2) + "\n", true);
  return json;
}

}  // namespace medfusion::tools
