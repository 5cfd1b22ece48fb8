#include "tools/evaluation/measures/compare_folds.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "data/readers/csv.h"
#include "data/readers/text_file.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/bootstrap.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;
using data::Mean;
namespace fs = std::filesystem;

std::vector<int64_t> seeds_of(const std::string& path) {
  const auto json = Json::parse(data::read_text_file(path), nullptr, false);
  try {
    return json.at("seeds").get<std::vector<int64_t>>();
  } catch (const Json::exception&) {
    core::throw_input_error({path}, "expected what cv writes, with its seeds");
  }
}

std::vector<int64_t> folds_of(const PredictionsFile& predictions, const std::string& path) {
  const data::CsvTable table = data::CsvTable::read(path);
  const int id = table.column("id"), fold = table.column("fold");
  std::map<std::string, int64_t> fold_of;
  for (int64_t row = 0; row < table.rows(); ++row)
    fold_of[table.required(row, id)] = table.integer(row, fold, 0, 9999);
  std::vector<int64_t> folds;
  for (const std::string& each : predictions.ids) {
    const auto found = fold_of.find(each);
    if (found == fold_of.end()) core::throw_input_error({path}, "expected the fold of '{}', got none", each);
    folds.push_back(found->second);
  }
  return folds;
}

// (label, row) -> what makes two cross-validations the same but for their probabilities.
std::map<std::string, std::vector<double>> identities(const FoldedPredictions& cv, size_t seed) {
  std::map<std::string, std::vector<double>> rows;
  const PredictionsFile& file = cv.predictions[seed];
  for (size_t row = 0; row < file.ids.size(); ++row) {
    auto& what = rows[file.ids[row] + '\n' + file.input.patients[row]];
    what.push_back(static_cast<double>(cv.folds[seed][row]));
    std::map<std::string, double> targets;
    for (const LabelPredictions& label : file.input.labels) targets[label.name] = label.targets[row];
    for (const auto& [name, target] : targets) what.push_back(std::isnan(target) ? -1.0 : target);
  }
  return rows;
}

void add_each(const std::vector<Mean>& from, std::vector<Mean>& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i].add(from[i].value());
}

// Adds the fold's macro AUROC of both sides, on all rows and then on each resample, over the labels that both
// have.
void add_fold(const ResampledMeasures& first, const ResampledMeasures& second, std::vector<Mean>& a,
              std::vector<Mean>& b) {
  std::vector<Mean> macro_a(a.size()), macro_b(b.size());
  for (int64_t label = 0; label < first.labels(); ++label) {
    std::vector<double> x = first.draws(label, Measure::auroc), y = second.draws(label, Measure::auroc);
    x.insert(x.begin(), first.full(label)[Measure::auroc]);
    y.insert(y.begin(), second.full(label)[Measure::auroc]);
    for (size_t i = 0; i < x.size(); ++i) {
      macro_a[i].add(std::isnan(y[i]) ? y[i] : x[i]);
      macro_b[i].add(std::isnan(x[i]) ? x[i] : y[i]);
    }
  }
  add_each(macro_a, a);
  add_each(macro_b, b);
}

}  // namespace

std::string why_not_comparable(const FoldedPredictions& first, const FoldedPredictions& second) {
  if (first.seeds != second.seeds) return "the seeds differ";
  for (size_t s = 0; s < first.seeds.size(); ++s) {
    if (identities(first, s) != identities(second, s)) return "the rows, labels or folds differ";
  }
  return "";
}

ResampledMeasures measure_fold(const FoldedPredictions& cv, size_t seed, int64_t fold,
                               const std::vector<std::string>& labels,
                               const std::map<std::string, uint32_t>& number_of_patient,
                               const PatientBootstrap& bootstrap, int64_t bins) {
  const EvaluationInput& input = cv.predictions[seed].input;
  std::vector<size_t> rows;
  std::vector<uint32_t> patients;
  for (size_t row = 0; row < input.patients.size(); ++row) {
    if (cv.folds[seed][row] != fold) continue;
    rows.push_back(row);
    patients.push_back(number_of_patient.at(input.patients[row]));
  }
  const auto of_rows = [&](const auto& values) {
    std::decay_t<decltype(values)> result;
    for (const size_t row : rows) {
      if (!values.empty()) result.push_back(values[row]);
    }
    return result;
  };
  std::vector<RankedLabel> ranked;
  for (const std::string& name : labels) {
    const auto label = std::find_if(input.labels.begin(), input.labels.end(),
                                    [&](const LabelPredictions& each) { return each.name == name; });
    ranked.emplace_back(of_rows(label->probabilities), of_rows(label->targets), patients,
                        of_rows(label->predicted), bins, of_rows(label->logits));
  }
  return {ranked, bootstrap};
}

std::map<std::string, uint32_t> numbers_of_patients(const EvaluationInput& input,
                                                    const PatientBootstrap& bootstrap) {
  std::map<std::string, uint32_t> numbers;
  for (size_t row = 0; row < input.patients.size(); ++row)
    numbers[input.patients[row]] = bootstrap.patient_of_row()[row];
  return numbers;
}

fs::path seed_folder(const fs::path& root, int64_t seeds, int64_t seed) {
  return seeds > 1 ? root / fmt::format("seed{}", seed) : root;
}

std::optional<FoldedPredictions> read_cross_validation(const std::string& folder) {
  const fs::path root = folder;
  if (!fs::exists(root / "cv.json")) return std::nullopt;
  FoldedPredictions result;
  result.seeds = seeds_of((root / "cv.json").string());
  for (const int64_t seed : result.seeds) {
    const fs::path own = seed_folder(root, static_cast<int64_t>(result.seeds.size()), seed);
    const fs::path folds = fs::exists(own / "folds.csv") ? own : root;
    result.predictions.push_back(read_predictions((own / "predictions.csv").string()));
    result.folds.push_back(folds_of(result.predictions.back(), (folds / "folds.csv").string()));
  }
  return result;
}

Json compare_folds(const FoldedPredictions& first, const FoldedPredictions& second,
                   const EvaluationOptions& options) {
  const std::string why = why_not_comparable(first, second);
  if (!why.empty()) return {{"undefined", why}};
  const EvaluationInput& input = first.predictions.front().input;
  const PatientBootstrap bootstrap(input.patients, options.resamples, options.seed);
  const auto number_of_patient = numbers_of_patients(input, bootstrap);
  std::vector<std::string> labels;
  for (const LabelPredictions& label : input.labels) labels.push_back(label.name);
  const auto figures = static_cast<size_t>(options.resamples) + 1;
  std::vector<Mean> a(figures), b(figures);  // over the seeds
  int64_t count = 0;
  for (size_t s = 0; s < first.seeds.size(); ++s) {
    const std::set<int64_t> folds(first.folds[s].begin(), first.folds[s].end());
    count = static_cast<int64_t>(folds.size());
    std::vector<Mean> seed_a(figures), seed_b(figures);  // over the folds
    for (const int64_t fold : folds) {
      add_fold(measure_fold(first, s, fold, labels, number_of_patient, bootstrap, options.bins),
               measure_fold(second, s, fold, labels, number_of_patient, bootstrap, options.bins), seed_a,
               seed_b);
    }
    add_each(seed_a, a);
    add_each(seed_b, b);
  }
  std::vector<double> first_draws, second_draws;
  for (size_t i = 1; i < figures; ++i) {
    first_draws.push_back(a[i].value());
    second_draws.push_back(b[i].value());
  }
  Json macro = paired_json(a.front().value(), b.front().value(), first_draws, second_draws);
  // An average over folds leaves out what is undefined: no resample counts as undefined.
  for (Json& side : macro) side.erase("undefined_resamples");
  return {{"seeds", first.seeds}, {"folds", count}, {"macro_auroc", macro}};
}

}  // namespace medfusion::tools
