#include "tools/medfusion/run/initial_weights.h"

#include <fmt/format.h>

#include "core/tell.h"
#include "core/word_list.h"
#include "optim/table_fit.h"
#include "tools/medfusion/run/checkpoints.h"

namespace medfusion::tools {
namespace {

// "3 start anew: a, b, c", of which at most `most` are named.
std::string listing(const char* what, const std::vector<std::string>& names, size_t most) {
  return fmt::format("{} {}: {}", names.size(), what, core::list_words(names, most));
}

std::vector<std::string> init_lines(const optim::TransferReport& report, const std::string& file,
                                    size_t most) {
  std::vector<std::string> lines{
      fmt::format("init: {}: loaded {} of {} tensors, {} of {} parameters, {:.1f} % of the backbone's", file,
                  report.tensors.loaded, report.tensors.all, report.parameters.loaded, report.parameters.all,
                  100.0 * report.backbone.fraction())};
  if (!report.anew.empty()) lines.push_back("init: " + listing("start anew", report.anew, most));
  if (!report.unused.empty())
    lines.push_back("init: " + listing("of the file are not used", report.unused, most));
  for (const std::string& note : report.notes) lines.push_back("note: " + note);
  return lines;
}

// A note where the file was trained on images of another form.
void compare_input(const Metadata& own, const Metadata& given, optim::TransferReport& report,
                   const std::string& file) {
  const auto theirs = given.find("input");
  if (theirs == given.end() || !theirs->second.starts_with("{") || own.at("input") == "null") return;
  if (theirs->second == own.at("input")) return;
  report.notes.push_back(
      fmt::format("{}: was trained on images as {}, this run has {}", file, theirs->second, own.at("input")));
}

void check_enough(const optim::TransferReport& report, const TrainingJob& job) {
  if (job.init_partial) return;
  if (report.backbone.fraction() < kLeastInitialShare) {
    core::throw_input_error(
        {job.init},
        "gives {:.1f} % of the backbone's parameters, expected at least {:.0f} %; the first "
        "of {} that start anew is {}; --init-partial takes it as it is",
        100.0 * report.backbone.fraction(), 100.0 * kLeastInitialShare, report.anew.size(),
        report.anew.front());
  }
  if (job.config.train.epochs == 0 && !report.anew.empty()) {
    core::throw_input_error({job.init},
                            "expected all weights, as train.epochs = 0 trains none; the first of {} that "
                            "start anew is {}; --init-partial takes it as it is",
                            report.anew.size(), report.anew.front());
  }
}

void fit_table(models::TableHead& head, const TrainingRows& rows, const core::Tensor& targets,
               core::Tensor& prior, const RunDirectory& run) {
  core::Batch batch = data::gather(rows.encoded, rows.rows);
  batch.targets = targets;
  std::vector<std::string> patients;
  for (const int64_t row : rows.rows) patients.push_back(rows.dataset.patients[static_cast<size_t>(row)]);
  const auto left = optim::fit_table_head(head, batch, patients, prior);
  if (left.empty()) return;
  run.log(fmt::format("the linear model of the table starts at 0 for {} of {} labels", left.size(),
                      targets.size(1)));
}

}  // namespace

void initialize(models::Network& network, const TrainingJob& job, const TrainingRows& rows,
                const core::Tensor& targets, const Metadata& own, const RunDirectory& run) {
  network.initialize(static_cast<uint64_t>(job.config.seed));
  core::Tensor prior = core::Tensor::zeros({targets.size(1)});
  if (job.config.train.prior_bias)
    prior = optim::prior_logits(targets, job.config.model.output == optim::Output::softmax);
  if (network.table_head() != nullptr) fit_table(*network.table_head(), rows, targets, prior, run);
  if (job.config.train.prior_bias || network.table_head() != nullptr) network.set_prior(prior);
  if (job.init.empty()) return;
  Metadata given;
  const optim::NamedTensors tensors = load_own_weights(job.init, given);
  optim::TransferReport report = optim::transfer_weights(network, row_names(own, run.folder().string()),
                                                         tensors, row_names(given, job.init), job.init);
  compare_input(own, given, report, job.init);
  check_enough(report, job);
  for (const std::string& line : init_lines(report, job.init, 1000)) run.log(line);
  if (job.quiet) return;
  for (const std::string& line : init_lines(report, job.init, 12)) core::tell("{}\n", line);
}

}  // namespace medfusion::tools
