// A run as the report reads it, and what to look for in a page.
#pragma once

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/report/report.h"

namespace medfusion::tools {

inline nlohmann::ordered_json evaluation_of(const std::string& label) {
  EvaluationInput input;
  LabelPredictions predictions;
  predictions.name = label;
  for (int i = 0; i < 40; ++i) {
    input.patients.push_back("p" + std::to_string(i / 2));
    predictions.targets.push_back(i % 3 == 0 ? 1.0 : 0.0);
    predictions.probabilities.push_back((i * 37 % 40 + (i % 3 == 0 ? 25 : 0)) / 70.0);
    predictions.predicted.push_back(predictions.probabilities.back() > 0.5 ? 1 : 0);
    predictions.levels.push_back(predictions.probabilities.back() > 0.5 ? RiskLevel::high : RiskLevel::low);
  }
  predictions.threshold = optim::MetricValue::of(0.5);
  input.labels = {predictions};
  EvaluationOptions options;
  options.resamples = 50;
  nlohmann::ordered_json json{{"split", "test"}, {"calibration_method", "none"}, {"risk_method", "targets"}};
  json.update(evaluation_json(input, options));
  return json;
}

inline RunRecord record(const std::string& name, const std::string& label = "Mass") {
  RunRecord run;
  run.name = name;
  run.config = "seed = 1\n\n[train]\nloss = \"bce\"\nepochs = 2\n\n[model]\nsize = \"tiny\"\n";
  run.settings = {{"seed", 1},
                  {"train.loss", "bce"},
                  {"train.epochs", 2},
                  {"train.threshold", "youden"},
                  {"train.pos_weight", "sqrt"},
                  {"model.size", "tiny"},
                  {"data.format", "phantom"},
                  {"resample.method", "none"},
                  {"calibration.method", "platt"},
                  {"risk.method", "targets"},
                  {"risk.sensitivity", 0.95},
                  {"risk.ppv", 0.5}};
  run.data = {{"version", "0"}, {"dataset", "d"}, {"data_hash", "00ff"}, {"rows", 60}};
  run.data["parts"]["train"] = {{"rows", 20}, {"patients", 10}, {"ids_hash", "a"}};
  run.data["parts"]["val"] = {{"rows", 12}, {"patients", 6}, {"ids_hash", "v"}};
  run.data["parts"]["test"] = {{"rows", 40}, {"patients", 20}, {"ids_hash", "b"}};
  run.data["shared_patients"]["train and test"] = 0;
  run.data["train_positives"][label] = 7;
  run.data["guard"] = {{"allowed", nlohmann::ordered_json::array()},
                       {"notes", nlohmann::ordered_json::array()},
                       {"warnings", nlohmann::ordered_json::array()}};
  run.preprocessing = {{"table", nullptr}, {"features", nullptr}, {"text", nullptr}, {"weights", "best"}};
  run.preprocessing["thresholds"] = {{{"value", 0.5}}};
  run.preprocessing["calibration"] = {{{"method", "platt"}, {"slope", 1.0}, {"intercept", 0.0}}};
  run.preprocessing["risk"] = {{{"low", 0.25}, {"high", 0.5}}};
  run.history = {{{"epoch", 1}, {"train_loss", 0.5}}, {{"epoch", 2}, {"train_loss", 0.25}}};
  run.evaluation = evaluation_of(label);
  return run;
}

inline size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Of the numbers "x,y" of the first polygon.
inline std::vector<std::pair<double, double>> polygon_points(const std::string& svg) {
  const size_t from = svg.find("<polygon points=\"") + 17;
  std::string text = svg.substr(from, svg.find('"', from) - from);
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream numbers(text);
  std::vector<std::pair<double, double>> points;
  for (double x = 0, y = 0; numbers >> x >> y;) points.emplace_back(x, y);
  return points;
}

}  // namespace medfusion::tools
