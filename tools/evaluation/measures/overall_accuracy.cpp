#include "tools/evaluation/measures/overall_accuracy.h"

#include <cmath>
#include <optional>

#include "data/statistics/samples.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

size_t most_probable_label(const EvaluationInput& input, size_t row) {
  size_t best = 0;
  for (size_t label = 1; label < input.labels.size(); ++label) {
    if (input.labels[label].probabilities[row] > input.labels[best].probabilities[row]) best = label;
  }
  return best;
}

std::optional<size_t> true_label(const EvaluationInput& input, size_t row) {
  for (size_t label = 0; label < input.labels.size(); ++label) {
    if (input.labels[label].targets[row] == 1.0) return label;
  }
  return std::nullopt;
}

// Decisions that are known to be right or wrong, by patient.
struct Decisions {
  std::vector<int64_t> right, known;

  explicit Decisions(int64_t patients)
      : right(static_cast<size_t>(patients), 0), known(static_cast<size_t>(patients), 0) {}
  void add(uint32_t patient, bool is_right) {
    right[patient] += is_right ? 1 : 0;
    ++known[patient];
  }
  // The share of right ones, where each patient counts as often as its weight; NaN where none counts.
  double share(const std::vector<uint32_t>& weights) const {
    int64_t sum = 0, all = 0;
    for (size_t patient = 0; patient < weights.size(); ++patient) {
      sum += weights[patient] * right[patient];
      all += weights[patient] * known[patient];
    }
    return static_cast<double>(sum) / static_cast<double>(all);
  }
};

// One of all labels together where exactly one is true, else one for each label.
std::vector<Decisions> decisions_of(const EvaluationInput& input, const PatientBootstrap& bootstrap) {
  const std::vector<uint32_t>& patients = bootstrap.patient_of_row();
  std::vector<Decisions> result(input.exclusive ? 1 : input.labels.size(), Decisions(bootstrap.patients()));
  for (size_t row = 0; row < patients.size(); ++row) {
    if (input.exclusive) {
      if (const auto label = true_label(input, row))
        result[0].add(patients[row], most_probable_label(input, row) == *label);
      continue;
    }
    for (size_t label = 0; label < input.labels.size(); ++label) {
      const LabelPredictions& each = input.labels[label];
      if (std::isnan(each.targets[row]) || std::isnan(each.probabilities[row])) continue;
      result[label].add(patients[row], (each.probabilities[row] > 0.5) == (each.targets[row] == 1.0));
    }
  }
  return result;
}

double accuracy_of(const std::vector<Decisions>& decisions, const std::vector<uint32_t>& weights) {
  data::Mean mean;  // passes over labels of which nothing counts
  for (const Decisions& each : decisions) mean.add(each.share(weights));
  return mean.value();
}

}  // namespace

Json overall_accuracy_json(const EvaluationInput& input, const PatientBootstrap& bootstrap) {
  const std::vector<Decisions> decisions = decisions_of(input, bootstrap);
  const std::vector<double> draws =
      bootstrap.draw<double>(1, [&](const std::vector<uint32_t>& weights, double* accuracy) {
        *accuracy = accuracy_of(decisions, weights);
      });
  Json json = resampled_json(accuracy_of(decisions, bootstrap.ones()), draws);
  if (!json["low"].is_null() && json["low"] == json["high"]) json["low"] = json["high"] = nullptr;
  json["rule"] = input.exclusive ? "the most probable label" : "labels above 0.5, mean of the labels";
  if (json["value"].is_null()) json["undefined"] = "no row has a known label";
  return json;
}

Json confusion_matrix_json(const EvaluationInput& input) {
  const size_t count = input.labels.size();
  std::vector<std::vector<int64_t>> counts(count, std::vector<int64_t>(count, 0));
  for (size_t row = 0; row < input.patients.size(); ++row) {
    if (const auto label = true_label(input, row)) ++counts[*label][most_probable_label(input, row)];
  }
  Json json{{"labels", Json::array()}, {"counts", counts}};
  for (const LabelPredictions& label : input.labels) json["labels"].push_back(label.name);
  return json;
}

}  // namespace medfusion::tools
