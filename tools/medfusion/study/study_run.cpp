#include "tools/medfusion/study/study_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "core/tell.h"
#include "optim/progress.h"
#include "tools/medfusion/run/cross_validation.h"
#include "tools/medfusion/run/interruption.h"
#include "tools/medfusion/run/run_replacement.h"
#include "tools/medfusion/run/training_rows.h"
#include "tools/medfusion/study/results.h"
#include "tools/medfusion/study/search.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

// "study  cells 3/12, networks 14/60, 1:02:10 left", a line whenever a network has been trained.
class StudyProgress {
 public:
  // cells, units: files that appear, one when a cell is done and one when a network is. what: of the units.
  StudyProgress(bool quiet, std::vector<fs::path> cells, std::string what, std::vector<fs::path> units)
      : quiet_(quiet), what_(std::move(what)), cells_(std::move(cells)), units_(std::move(units)) {
    before_ = shown_ = count_there(units_);
  }

  void show() {
    const size_t now = count_there(units_);
    if (quiet_ || now == shown_) return;
    shown_ = now;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
    const double left =
        spent.count() / static_cast<double>(now - before_) * static_cast<double>(units_.size() - now);
    core::tell("study  cells {}/{}, {} {}/{}, {} left\n", count_there(cells_), cells_.size(), what_, now,
               units_.size(), optim::format_duration(left));
  }

 private:
  static size_t count_there(const std::vector<fs::path>& files) {
    return static_cast<size_t>(
        std::count_if(files.begin(), files.end(), [](const fs::path& path) { return fs::exists(path); }));
  }

  bool quiet_;
  std::string what_;
  std::vector<fs::path> cells_, units_;
  size_t before_ = 0, shown_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

[[noreturn]] void throw_stopped(const StudyJob& job) {
  const int signal = SignalWatch::caught();
  throw Interrupted(signal, fmt::format("stopped by {}; what is done is saved; go on with: {}",
                                        name_of_signal(signal), job.command));
}

void tell_failures(const std::vector<ChildFailure>& failures) {
  for (const ChildFailure& each : failures) core::tell("failed: {}: {}\n", each.name, each.reason);
}

// A study under way.
class StudyRun {
 public:
  explicit StudyRun(const StudyJob& job) : job_(job), cells_(cells_of(job)) {}

  StudyOutcome run() {
    for (const StudyData& data : job_.study.data) open(data);
    for (const StudyCell& cell : cells_) {
      if (fs::exists(cell.folder / "cell.json") && job_.study.options.trials == 0)
        prepare_cell(job_, cell, folds_.at(cell.data));  // refuses what differs before anything is trained
    }
    if (job_.study.options.trials > 0) search();
    train();
    return {study_results(job_, cells_), failures_};
  }

 private:
  void open(const StudyData& data) {
    Config config = study_config(job_.study, data, job_.study.models[job_.study.reference()]);
    config.seed = job_.study.options.seed;
    const data::Dataset dataset = open_data(config);
    const std::vector<int64_t> folds = data::assign_folds(to_data_options(config), dataset);
    check_folds(config, dataset, folds);
    folds_[&data] = prepare_folds(job_, data, dataset, folds);
    if (job_.study.options.trials > 0) prepare_search(job_, data, dataset, folds);
  }

  void run_jobs(const std::vector<ChildJob>& jobs, const std::string& what, std::vector<fs::path> units) {
    std::vector<fs::path> finished;
    for (const StudyCell& cell : cells_) finished.push_back(cell.folder / "cv.json");
    StudyProgress progress(job_.quiet, std::move(finished), what, std::move(units));
    const SignalWatch watch(job_.quiet);
    const auto failures = run_children(jobs, job_.jobs, [&] { progress.show(); });
    tell_failures(failures);
    failures_.insert(failures_.end(), failures.begin(), failures.end());
    if (SignalWatch::caught() != 0) throw_stopped(job_);
  }

  void search() {
    std::vector<ChildJob> jobs;
    std::vector<fs::path> units;
    for (const StudyData& data : job_.study.data) {
      for (const StudyModel& model : job_.study.models) {
        for (ChildJob& each : search_jobs(job_, data, model, folds_.at(&data).count)) {
          units.push_back(each.log.parent_path() / "run" / "evaluation.json");
          jobs.push_back(std::move(each));
        }
      }
    }
    run_jobs(jobs, "draws", std::move(units));
    for (StudyCell& cell : cells_) {
      const auto chosen = choose_settings(job_, *cell.data, *cell.model, folds_.at(cell.data).count);
      if (chosen) cell.fold_set = *chosen;
      if (!chosen) unchosen_.push_back(&cell);
    }
  }

  void train() {
    std::vector<ChildJob> jobs;
    std::vector<fs::path> units;
    for (const StudyCell& cell : cells_) {
      if (std::find(unchosen_.begin(), unchosen_.end(), &cell) != unchosen_.end()) continue;
      const StudyFolds& folds = folds_.at(cell.data);
      if (cell.is_finished()) {
        prepare_cell(job_, cell, folds);
        continue;
      }
      for (int64_t fold = 0; fold < folds.count; ++fold)
        units.push_back(cell.folder / fmt::format("fold{}", fold) / "cost.json");
      jobs.push_back(
          {cell.name(), cell.folder / "output.log", [this, &cell, &folds, begun = false]() mutable {
             if (begun) return std::vector<std::string>();
             begun = true;
             prepare_cell(job_, cell, folds);
             return cell_command(job_, cell);
           }});
    }
    run_jobs(jobs, "networks", std::move(units));
  }

  const StudyJob& job_;
  std::vector<StudyCell> cells_;
  std::map<const StudyData*, StudyFolds> folds_;
  std::vector<const StudyCell*> unchosen_;
  std::vector<ChildFailure> failures_;
};

}  // namespace

StudyOutcome run_study(const StudyJob& job) {
  const FolderLock lock(job.out);
  return StudyRun(job).run();
}

std::string describe_grid(const StudyJob& job) {
  std::string text;
  size_t finished = 0;
  const auto cells = cells_of(job);
  for (const StudyCell& cell : cells) {
    finished += cell.is_finished() ? 1 : 0;
    text += fmt::format("{}{}\n", cell.name(), cell.is_finished() ? "  (finished)" : "");
  }
  const Study& study = job.study;
  text +=
      fmt::format("{} data x {} models x {} seeds = {} cross-validations, {} finished\n", study.data.size(),
                  study.models.size(), study.options.seeds.size(), cells.size(), finished);
  if (study.options.trials > 0)
    text += fmt::format("search before them: {} draws for each model and fold\n", study.options.trials);
  return text;
}

}  // namespace medfusion::tools
