#include "tools/evaluation/measures/predictions_file.h"

#include <cmath>
#include <set>

#include "data/readers/csv.h"
#include "data/statistics/logistic.h"

namespace medfusion::tools {
namespace {

const std::string kProbability = "probability_";

std::vector<double> read_probabilities(const data::CsvTable& table, int column) {
  std::vector<double> values;
  for (int64_t row = 0; row < table.rows(); ++row) {
    values.push_back(table.number(row, column));
    if (!(values.back() >= 0.0 && values.back() <= 1.0)) table.reject(row, column, "a probability");
  }
  return values;
}

// Log odds that fit the probabilities, which are rounded.
std::vector<double> read_logits(const data::CsvTable& table, int column,
                                const std::vector<double>& probabilities) {
  std::vector<double> values;
  for (int64_t row = 0; row < table.rows(); ++row) {
    values.push_back(table.number(row, column));
    const double difference = data::sigmoid(values.back()) - probabilities[static_cast<size_t>(row)];
    if (!(std::abs(difference) < 1e-6)) table.reject(row, column, "the log odds of the probability");
  }
  return values;
}

LabelPredictions read_label(const data::CsvTable& table, const std::string& name) {
  LabelPredictions label;
  label.name = name;
  label.probabilities = read_probabilities(table, table.column(kProbability + name));
  if (const auto logit = table.find_column("logit_" + name))
    label.logits = read_logits(table, *logit, label.probabilities);
  const int target = table.column("target_" + name);
  for (int64_t row = 0; row < table.rows(); ++row) label.targets.push_back(table.label(row, target));
  if (const auto raw = table.find_column("raw_" + name)) label.raw = read_probabilities(table, *raw);
  // A label without a threshold, or without levels, has empty cells.
  if (const auto column = table.find_column("predicted_" + name)) {
    bool complete = true;
    for (int64_t row = 0; row < table.rows(); ++row) {
      const float decision = table.label(row, *column);
      complete &= !std::isnan(decision);
      label.predicted.push_back(decision == 1.0F ? 1 : 0);
    }
    if (!complete) {
      label.predicted.clear();
      label.threshold = optim::MetricValue::undefined("not every row was decided");
    }
  }
  if (const auto column = table.find_column("risk_" + name)) {
    bool complete = true;
    for (int64_t row = 0; row < table.rows(); ++row) {
      const std::string cell = table.category(row, *column);
      const auto level = risk_level(cell);
      if (!level && !cell.empty()) table.reject(row, *column, "low, intermediate or high");
      complete &= level.has_value();
      label.levels.push_back(level.value_or(RiskLevel::intermediate));
    }
    if (!complete) label.levels.clear();
  }
  return label;
}

PredictionsFile read_table(const data::CsvTable& table) {
  const std::string& path = table.file();
  if (table.rows() == 0) core::throw_input_error({path, 2}, "expected at least one row after the header");
  PredictionsFile file;
  const int id = table.column("id");
  const int patient = table.column("patient");
  std::set<std::string> seen;
  for (int64_t row = 0; row < table.rows(); ++row) {
    file.ids.push_back(table.required(row, id));
    if (!seen.insert(file.ids.back()).second) table.reject(row, id, "each id once");
    file.input.patients.push_back(table.required(row, patient));
  }
  for (const std::string& name : table.header()) {
    if (name.starts_with(kProbability))
      file.input.labels.push_back(read_label(table, name.substr(kProbability.size())));
  }
  if (file.input.labels.empty())
    core::throw_input_error({path, 1}, "expected columns named probability_LABEL, got none");
  return file;
}

}  // namespace

PredictionsFile read_predictions(const std::string& path) { return read_table(data::CsvTable::read(path)); }

PredictionsFile parse_predictions(const std::string& text, const std::string& file) {
  return read_table(data::CsvTable::parse(text, file));
}

}  // namespace medfusion::tools
