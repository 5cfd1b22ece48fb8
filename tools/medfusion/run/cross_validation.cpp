#include "tools/medfusion/run/cross_validation.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <sstream>

#include "core/file.h"
#include "core/product_count.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/compare_folds.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/evaluate_run.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/interruption.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/resume.h"
#include "tools/medfusion/run/run_replacement.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

using data::mean;

// Every fold must have an AUROC: found out before hours of training rather than after.
void check_defined(const data::Dataset& dataset, const std::vector<int64_t>& folds, int64_t count) {
  const auto labels = static_cast<int64_t>(dataset.labels.size());
  for (int64_t fold = 0; fold < count; ++fold) {
    bool defined = false;
    for (int64_t label = 0; label < labels && !defined; ++label) {
      bool positive = false, negative = false;
      for (int64_t row = 0; row < dataset.size(); ++row) {
        if (folds[static_cast<size_t>(row)] != fold) continue;
        const double target = dataset.targets.at(row * labels + label);
        positive |= target == 1.0;
        negative |= target == 0.0;
      }
      defined = positive && negative;
    }
    if (!defined) {
      core::throw_input_error({},
                              "cv: fold {} of 0..{} has no label with both a positive and a "
                              "negative row, so it has no AUROC; expected fewer folds",
                              fold, count - 1);
    }
  }
}

int64_t count_folds(const std::vector<int64_t>& folds) {
  return *std::max_element(folds.begin(), folds.end()) + 1;
}

data::Splits splits_of(const Config& config, const data::Dataset& dataset, const std::vector<int64_t>& folds,
                       int64_t fold) {
  return data::fold_splits(dataset, folds, fold, config.data.split.val_fraction,
                           static_cast<uint64_t>(config.seed));
}

// What the guard has to say about any of the folds, each once.
void print_warnings(const Config& config, const data::Dataset& dataset, const std::vector<int64_t>& folds) {
  std::vector<std::string> warnings, notes = dataset.notes;
  std::set<std::string> columns;
  for (int64_t fold = 0; fold < count_folds(folds); ++fold) {
    const data::Splits splits = splits_of(config, dataset, folds, fold);
    for (const auto& note : absent_classes(dataset, splits.train))
      notes.push_back(fmt::format("fold {}: {}", fold + 1, note));
    for (auto& note : text_notes(config, dataset, splits.train)) {
      if (columns.insert(note).second) notes.push_back(std::move(note));
    }
    for (auto& warning : suspicious_columns(dataset, splits.train)) {
      // The figure differs from fold to fold; what it is about does not.
      if (columns.insert(warning.substr(0, warning.find(" at an AUROC"))).second) {
        warnings.push_back(std::move(warning));
      }
    }
  }
  print_remarks(notes, warnings);
}

// Metrics of all folds of all seeds.
class Results {
 public:
  Results(int64_t folds, std::vector<std::string> labels) : folds_(folds), labels_(std::move(labels)) {}

  void add(int64_t seed, int64_t fold, const optim::Metrics& metrics) {
    const auto& macro = metrics[optim::Metric::auroc];
    MEDFUSION_CHECK(macro.mean.defined(), "cv: the macro AUROC of fold {} is undefined: {}", fold,
                    macro.mean.reason);
    macro_[{seed, fold}] = *macro.mean.value;
    for (const auto& left_out : macro.left_out)
      undefined_[fold].push_back(left_out.label + ": " + left_out.reason);
    for (const auto& label : metrics.labels) {
      const auto& value = label[optim::Metric::auroc];
      if (value.defined()) per_label_[label.name].push_back(*value.value);
    }
  }

  nlohmann::ordered_json to_json(const std::vector<int64_t>& seeds) const {
    std::map<int64_t, std::vector<double>> of_fold, of_seed;
    for (const auto& [seed_and_fold, value] : macro_) {
      of_seed[seed_and_fold.first].push_back(value);
      of_fold[seed_and_fold.second].push_back(value);
    }
    std::vector<double> per_fold, per_seed;
    for (const auto& [fold, values] : of_fold) per_fold.push_back(mean(values));
    for (const auto& [seed, values] : of_seed) per_seed.push_back(mean(values));
    nlohmann::ordered_json json;
    json["folds"] = folds_;
    json["seeds"] = seeds;
    json["macro_auroc"] = {{"mean", mean(per_fold)},
                           {"std", number_or_null(data::deviation(per_fold))},
                           {"per_fold", per_fold},
                           {"per_seed", per_seed},
                           {"seed_std", number_or_null(data::deviation(per_seed))}};
    for (const std::string& label : labels_) {
      const auto found = per_label_.find(label);
      const auto count = found == per_label_.end() ? size_t{0} : found->second.size();
      json["labels"][label]["auroc"] =
          count == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(mean(found->second));
      json["labels"][label]["defined_in"] = count;
    }
    for (const auto& [fold, reasons] : undefined_) json["undefined"]["fold" + std::to_string(fold)] = reasons;
    return json;
  }

 private:
  int64_t folds_;
  std::vector<std::string> labels_;
  std::map<std::pair<int64_t, int64_t>, double> macro_;  // (seed, fold)
  std::map<std::string, std::vector<double>> per_label_;
  std::map<int64_t, std::vector<std::string>> undefined_;
};

std::vector<data::Splits> splits_of_folds(const Config& config, const data::Dataset& dataset,
                                          const std::vector<int64_t>& folds) {
  std::vector<data::Splits> result;
  for (int64_t fold = 0; fold < count_folds(folds); ++fold)
    result.push_back(splits_of(config, dataset, folds, fold));
  return result;
}

constexpr bool kFlush = true;
constexpr int64_t kResamples = 1000;  // of the patients, for the intervals of evaluation.json

// Of an earlier cross-validation, whose folds are being replaced.
void remove_summaries(const std::filesystem::path& folder) {
  for (const char* name : {"cv.json", "predictions.csv", "evaluation.json", "protocols.json"}) {
    std::error_code none;
    std::filesystem::remove(folder / name, none);
  }
}

std::string without_header(const std::string& csv) { return csv.substr(csv.find('\n') + 1); }

}  // namespace

std::string folds_csv(const data::Dataset& dataset, const std::vector<int64_t>& folds) {
  std::string csv = "id,fold\n";
  for (size_t row = 0; row < folds.size(); ++row) {
    csv += fmt::format("{},{}\n", csv_cell(dataset.ids[row]), folds[row]);
  }
  return csv;
}

void write_folds(const std::filesystem::path& folder, const data::Dataset& dataset,
                 const std::vector<int64_t>& folds, Config& config) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path file = std::filesystem::absolute(folder / "folds.csv");
  if (is_speaker()) core::write_file(file.string(), folds_csv(dataset, folds), kFlush);
  config.data.split.folds = file.string();
}

void check_folds(const Config& config, const data::Dataset& dataset, const std::vector<int64_t>& folds) {
  refuse_missing_images(config, dataset);
  const int64_t count = count_folds(folds);
  check_defined(dataset, folds, count);
  for (int64_t fold = 0; fold < count; ++fold) {
    refuse_leaks(config, dataset, splits_of(config, dataset, folds, fold));
  }
}

namespace {

// Throws core::InputError where a fold's run is of another configuration, or of other data.
void check_same_fold(const RunDirectory& run, const Config& config, const data::Dataset& dataset,
                     const data::Splits& splits) {
  check_same_data(run, describe_data(dataset, splits));
  Config expected = config;
  expected.model.output = output_of(config, dataset);
  const Config own = run.read_config();
  if (identity_of(own, dataset) == identity_of(expected, dataset) && own.train.epochs == config.train.epochs)
    return;
  core::throw_input_error({run.folder().string()},
                          "the fold is of another configuration than cv.toml; remove it to train it anew");
}

// Whether a fold's folder holds a run to go on with. What is of a cross-validation that --force was to
// replace is none; elsewhere it is refused.
bool goes_on(const FoldRuns& runs, const Config& config, const data::Dataset& dataset,
             const data::Splits& splits, const std::filesystem::path& folder) {
  if (!runs.job.resume || !RunDirectory::has_begun(folder)) return false;
  try {
    check_same_fold(RunDirectory::reopen(folder), config, dataset, splits);
  } catch (const core::InputError&) {
    if (!runs.job.force) throw;
    return false;
  }
  return true;
}

// A signal that came when the training of a fold had nothing left to stop.
void end_if_asked(const TrainingJob& training) {
  if (SignalWatch::caught() != 0) throw_interrupted(training, "after a fold");
}

// One fold, trained: from the beginning, from where it was cut off, or not at all where it is finished.
RunDirectory train_fold(const FoldRuns& runs, const Config& config, const std::string& title,
                        const data::Dataset& dataset, const data::Splits& splits,
                        const std::filesystem::path& folder) {
  const CrossValidation& job = runs.job;
  TrainingJob training{config, job.device, job.init, job.quiet, title};
  training.kernels = job.kernels;
  training.resume_command = job.resume_command;
  if (goes_on(runs, config, dataset, splits, folder)) {
    std::optional<FolderLock> lock;
    if (is_speaker()) lock.emplace(folder);
    RunDirectory run = RunDirectory::reopen(folder);
    training.resume = true;
    training.on_checkpoint = [&run] { drop_replaced(run); };
    if (!run.is_finished()) train_run(training, dataset, splits, run);
    end_if_asked(training);
    return run;
  }
  RunReplacement replacement(folder, job.force || job.resume);
  training.on_checkpoint = [&] { replacement.keep(); };
  train_run(training, dataset, splits, replacement.run());
  end_if_asked(training);
  return replacement.run();
}

// The configuration of one fold.
Config config_of_fold(const FoldRuns& runs, int64_t fold) {
  Config config = runs.config;
  if (const auto own = runs.job.fold_set.find(fold); own != runs.job.fold_set.end()) {
    ConfigBuilder builder;
    builder.read_text(to_toml(config), "cv.toml");
    for (const std::string& assignment : own->second) builder.set(assignment);
    config = builder.build();
  }
  config.data.split.fold = fold;
  return config;
}

// Of all epochs.
double training_seconds(const RunDirectory& run) {
  const std::filesystem::path file = run.file("metrics.jsonl");
  if (!std::filesystem::exists(file)) return 0.0;
  std::istringstream lines(read_file(file));
  double seconds = 0.0;
  for (std::string line; std::getline(lines, line);)
    seconds += parse_json(line, file.string()).value("seconds", 0.0);
  return seconds;
}

// Of one row in one pass, twice the multiply-adds of its products.
int64_t flops_of_row(const TrainedRun& trained, const data::Dataset& dataset, int64_t row) {
  const auto loader =
      make_loader(trained.config, dataset, trained.preprocessing.encode(dataset), {row}, false);
  const core::ProductCount count;
  optim::predict(*trained.network, *loader, trained.config.model.output);
  return 2 * count.multiply_adds();
}

// Writes cost.json. A fold that was tested before keeps its highest peak.
void write_cost(const RunDirectory& run, const TrainedRun& trained, double predict_seconds, size_t rows,
                int64_t flops) {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  int64_t peak = int64_t{used.ru_maxrss} << 10;
  if (std::filesystem::exists(run.file("cost.json")))
    peak = std::max(peak, run.read_json("cost.json").value("peak_resident_bytes", int64_t{0}));
  run.write_json("cost.json", {{"parameters", trained.network->parameter_count()},
                               {"flops", flops},
                               {"training_seconds", training_seconds(run)},
                               {"predict_seconds", predict_seconds},
                               {"rows", rows},
                               {"peak_resident_bytes", peak}});
}

}  // namespace

void train_own_folds(const FoldRuns& runs, const data::Dataset& dataset, int64_t first_cell) {
  const int64_t count = count_folds(runs.folds), rank = job_ranks().rank(), ranks = job_ranks().size();
  const AloneScope alone;
  for (int64_t fold = 0; fold < count; ++fold) {
    if ((first_cell + fold) % ranks != rank) continue;
    const Config config = config_of_fold(runs, fold);
    train_fold(runs, config, fmt::format("{}fold {}/{}", runs.title, fold + 1, count), dataset,
               splits_of(config, dataset, runs.folds, fold), runs.folder / fmt::format("fold{}", fold));
  }
}

void run_folds(const FoldRuns& runs, const data::Dataset& dataset,
               const std::function<void(const FoldOutcome&)>& on_outcome) {
  const int64_t count = count_folds(runs.folds);
  for (int64_t fold = 0; fold < count; ++fold) {
    const Config config = config_of_fold(runs, fold);
    const auto splits = splits_of(config, dataset, runs.folds, fold);
    const std::string title = fmt::format("{}fold {}/{}", runs.title, fold + 1, count);
    const RunDirectory run =
        train_fold(runs, config, title, dataset, splits, runs.folder / fmt::format("fold{}", fold));
    const TrainedRun trained = TrainedRun::open(run, runs.job.device);
    const auto loader = make_loader(config, dataset, trained.preprocessing.encode(dataset), splits.test,
                                    false, several_ranks());
    const auto start = std::chrono::steady_clock::now();
    FoldOutcome outcome{
        config.seed, fold, predict_run(trained, dataset, *loader, {}, several_ranks()), {}, {}};
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    write_cost(run, trained, seconds.count(), splits.test.size(),
               flops_of_row(trained, dataset, splits.test.front()));
    outcome.metrics = metrics_of(outcome.predictions, trained);
    outcome.csv = predictions_csv(outcome.predictions, dataset, trained);
    run.write_json("metrics.json", optim::to_json(outcome.metrics));
    on_outcome(outcome);
  }
}

namespace {

// The folds of one seed, where they are to be.
FoldRuns folds_of_seed(const CrossValidation& options, const data::Dataset& dataset, Config& config,
                       std::vector<int64_t>& folds, int64_t seed) {
  config.seed = options.config.seed + seed;
  const auto folder = seed_folder(options.out, options.seeds, config.seed);
  if (options.redraw && seed > 0) {
    data::DataOptions data_options = to_data_options(options.config);
    data_options.seed = static_cast<uint64_t>(config.seed);
    folds = data::assign_folds(data_options, dataset);
    check_folds(config, dataset, folds);
  }
  if (options.redraw && options.seeds > 1) write_folds(folder, dataset, folds, config);
  const std::string title = options.seeds > 1 ? fmt::format("seed {} ", config.seed) : std::string();
  return {options, config, folds, folder, title};
}

// Every rank trains its share of the folds of all seeds.
void train_on_ranks(const CrossValidation& options, const data::Dataset& dataset, Config config,
                    std::vector<int64_t> folds) {
  const int64_t count = count_folds(folds);
  for (int64_t seed = 0; seed < options.seeds; ++seed) {
    const FoldRuns runs = folds_of_seed(options, dataset, config, folds, seed);
    job_ranks().barrier();  // rank 0 has written the files of folds
    train_own_folds(runs, dataset, seed * count);
  }
  job_ranks().barrier();
}

}  // namespace

nlohmann::ordered_json cross_validate(const CrossValidation& options,
                                      const std::function<void(const FoldOutcome&)>& on_outcome) {
  Config config = options.config;
  const data::Dataset dataset = open_data(config);
  std::vector<int64_t> folds = data::assign_folds(to_data_options(config), dataset);
  check_folds(config, dataset, folds);
  if (!options.fold_set.empty() && options.fold_set.rbegin()->first >= count_folds(folds)) {
    core::throw_input_error({"--fold-set"}, "expected a fold of 0..{}, got {}", count_folds(folds) - 1,
                            options.fold_set.rbegin()->first);
  }
  if (!options.quiet) print_warnings(config, dataset, folds);
  if (several_ranks() != nullptr) job_ranks().barrier();  // all have seen that the folder is free
  if (options.on_start && is_speaker()) options.on_start();
  write_folds(options.out, dataset, folds, config);
  CrossValidation rest = options;
  if (several_ranks() != nullptr) {
    train_on_ranks(options, dataset, config, folds);
    rest.resume = true;  // what is left is to test the folds, each on all ranks
  }
  const std::vector<data::Splits> first_splits = splits_of_folds(config, dataset, folds);
  Results results(count_folds(folds), dataset.labels);
  std::vector<int64_t> seeds;
  std::string predictions;
  for (int64_t s = 0; s < options.seeds; ++s) {
    const FoldRuns runs = folds_of_seed(rest, dataset, config, folds, s);
    seeds.push_back(config.seed);
    std::string own;
    run_folds(runs, dataset, [&](const FoldOutcome& outcome) {
      if (own.empty() && is_speaker()) remove_summaries(options.out);
      results.add(outcome.seed, outcome.fold, outcome.metrics);
      own += own.empty() ? outcome.csv : without_header(outcome.csv);
      if (on_outcome) on_outcome(outcome);
    });
    if (options.seeds > 1 && is_speaker())
      core::write_file((runs.folder / "predictions.csv").string(), own, kFlush);
    if (s == 0) predictions = own;
  }
  auto json = results.to_json(seeds);
  json["redrawn"] = options.redraw;
  EvaluationOptions evaluation_settings = evaluation_options(options.config, kResamples);
  evaluation_settings.ranks = several_ranks();
  const auto evaluation =
      evaluate_out_of_fold(predictions, dataset, first_splits, options.config, evaluation_settings);
  if (!is_speaker()) return json;
  core::write_file((options.out / "predictions.csv").string(), predictions, kFlush);
  core::write_file((options.out / "evaluation.json").string(), to_text(evaluation) + "\n", kFlush);
  core::write_file((options.out / "cv.json").string(), to_text(json, 2) + "\n", kFlush);
  return json;
}

}  // namespace medfusion::tools
