// medfusion predict: probabilities of images.
#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "core/file.h"
#include "core/tell.h"
#include "core/word_list.h"
#include "data/prediction.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/run/ensemble.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/schema_file.h"
#include "tools/medfusion/run/skipped_rows.h"

namespace medfusion::tools {
namespace {

struct PredictOptions {
  CommonOptions common;
  std::vector<std::string> runs;
  std::vector<std::string> images;
  std::string table;
  std::string out, on_error;
  bool strict = false;
};

// A network without an input predicts all the same; the user should know.
void note_what_is_missing(const PredictOptions& options, const TrainedRun& run) {
  const auto& reads = run.config.model.modalities;
  std::vector<std::string> missing;
  if (reads.image && options.images.empty()) missing.push_back("images");
  if (options.table.empty() && run.preprocessing.table_features() > 0) missing.push_back("table");
  if (options.table.empty() && run.preprocessing.text) missing.push_back("text");
  if (missing.empty()) return;
  core::tell("note: predicting without {}, which the network was trained with\n",
             fmt::join(missing, " and "));
}

struct Predicted {
  TrainedRun run;
  data::Dataset dataset;
  optim::Predictions predictions;
};

// What one network says of the rows; `notes` are on what it was trained with and these data.
Predicted predict_with(const std::string& run, const PredictOptions& options, bool notes) {
  CommonOptions common = options.common;
  common.quiet |= !notes;
  Predicted result{open_run(run, common), {}, {}};
  const TrainedRun& trained = result.run;
  if (options.table.empty() && !trained.config.model.modalities.image) {
    core::throw_input_error({run}, "the run reads no images; expected --table");
  }
  data::DataOptions data_options = to_data_options(trained.config);
  apply_on_error(options.on_error, data_options);
  data::Dataset& dataset = result.dataset;
  dataset = data::rows_to_predict(data_options, options.images, options.table,
                                  trained.preprocessing.table ? &*trained.preprocessing.table : nullptr,
                                  trained.preprocessing.text.has_value());
  dataset.labels = trained.labels;
  if (notes) hold_against_schema({run, options.strict, options.common.quiet}, dataset);
  core::Batch encoded;
  if (!options.table.empty()) {
    encoded = trained.preprocessing.encode(dataset);
  } else {
    encoded = trained.preprocessing.encode_missing(dataset.size());
  }
  std::vector<int64_t> rows(static_cast<size_t>(dataset.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  const auto loader = make_loader(trained.config, dataset, encoded, rows, false, several_ranks());
  result.predictions = predict_run(trained, dataset, *loader, {}, several_ranks());
  return result;
}

// Several networks together, those of a cross-validation or several runs; or the one of a run.
Predicted predict_with_all(const PredictOptions& options) {
  std::vector<std::string> members = options.runs;
  for (const std::string& run : options.runs) {
    const std::vector<std::filesystem::path> folds = members_of(run);
    if (folds.empty()) continue;
    if (options.runs.size() > 1)
      core::throw_input_error({run}, "is a cross-validation; expected it alone, or runs of train");
    members.assign(folds.begin(), folds.end());
  }
  if (members.size() == 1) return predict_with(members.front(), options, true);
  std::optional<Predicted> first;
  std::vector<optim::Predictions> all;
  for (const std::string& member : members) {
    Predicted one = predict_with(member, options, !first);
    all.push_back(one.predictions);
    if (!first) first = std::move(one);
  }
  first->run.preprocessing = options.runs.size() == 1 ? fit_to_folds(options.runs.front(), first->run)
                                                      : fit_to_runs(options.runs, first->run);
  first->predictions = average_predictions(all, first->run);
  return std::move(*first);
}

void predict(const PredictOptions& options) {
  if (options.images.empty() && options.table.empty()) {
    core::throw_input_error({}, "predict: expected --images, --table or both (see medfusion predict --help)");
  }
  std::vector<std::string> inputs = options.images;
  inputs.push_back(options.table);
  check_output_file("--out", options.out, ".csv", inputs);
  const auto [trained, dataset, predictions] = predict_with_all(options);
  if (!is_speaker()) return;
  const std::string csv = predictions_csv(predictions, dataset, trained);
  if (!options.out.empty()) core::write_file(options.out, csv);
  if (options.common.json) {
    nlohmann::ordered_json json;
    for (int64_t i = 0; i < dataset.size(); ++i) {
      nlohmann::ordered_json probabilities;
      for (size_t l = 0; l < trained.labels.size(); ++l) {
        probabilities[trained.labels[l]] = predictions.probabilities.at(
            i * static_cast<int64_t>(trained.labels.size()) + static_cast<int64_t>(l));
      }
      json["predictions"].push_back(
          {{"id", dataset.ids[static_cast<size_t>(i)]}, {"probabilities", probabilities}});
    }
    print_json(json);
  } else if (options.out.empty()) {
    print_text(csv);
  } else if (!options.common.quiet) {
    print_text(fmt::format("wrote {} to {}\n", core::count_of(dataset.size(), "row"), options.out));
  }
  if (options.common.quiet) return;
  print_remarks(dataset.notes, {});
  print_skipped(dataset);
  note_what_is_missing(options, trained);
}

}  // namespace

void add_predict_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("predict", "Predict the labels of images");
  const auto options = std::make_shared<PredictOptions>();
  add_value(*command, "run", options->runs, "RUN",
            "Run directory made by train, or folder of cv; the networks of a cv, or of several runs, predict "
            "together")
      ->required();
  add_value(*command, "--images", options->images, "PATH", "Image files, or folders of them");
  add_value(*command, "--table", options->table, "FILE.csv",
            "Table of the images' metadata, with the columns of the training data");
  add_value(*command, "--out", options->out, "FILE.csv", "File to write (default: standard output)");
  add_on_error_option(*command, options->on_error);
  add_strict_option(*command, options->strict);
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train phantom --out runs/phantom):\n"
      "  medfusion predict runs/phantom --images phantom/images --out predictions.csv\n"
      "  medfusion predict runs/phantom-cv --images phantom/images\n"
      "  medfusion predict runs/seed1 runs/seed2 --images phantom/images");
  command->callback([options, &action] { action = [options] { predict(*options); }; });
}

}  // namespace medfusion::tools
