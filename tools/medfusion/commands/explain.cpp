// medfusion explain: what a prediction rests on.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "core/word_list.h"
#include "data/prediction.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/run/explain_run.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/schema_file.h"
#include "tools/medfusion/run/skipped_rows.h"

namespace medfusion::tools {
namespace {

struct ExplainCommand {
  CommonOptions common;
  std::string run;
  std::vector<std::string> images;
  std::string table, split, data, out, on_error, level = "C2+C3+C4", method = "guided";
  bool strict = false;
  ExplainJob job;
};

data::Dataset open_split(const ExplainCommand& options, const TrainedRun& trained, ExplainJob& job) {
  data::DataOptions data_options = to_data_options(trained.config, trained.labels);
  apply_on_error(options.on_error, data_options);
  data::Dataset dataset = data::open_dataset(data_options);
  job.rows = rows_of_part(data::make_splits(data_options, dataset), options.split, options.run);
  return dataset;
}

data::Dataset open_images(const ExplainCommand& options, const TrainedRun& trained, ExplainJob& job) {
  data::DataOptions data_options = to_data_options(trained.config);
  apply_on_error(options.on_error, data_options);
  data::Dataset dataset =
      data::rows_to_predict(data_options, options.images, options.table,
                            trained.preprocessing.table ? &*trained.preprocessing.table : nullptr,
                            trained.preprocessing.text.has_value());
  if (!options.common.quiet) {
    print_remarks(dataset.notes, {});
    print_skipped(dataset);
  }
  dataset.labels = trained.labels;
  job.rows.resize(static_cast<size_t>(dataset.size()));
  std::iota(job.rows.begin(), job.rows.end(), int64_t{0});
  return dataset;
}

std::string summary(const nlohmann::ordered_json& json, const std::string& folder) {
  std::string text = fmt::format("explained {} by {} {} in {}\n",
                                 core::count_of(static_cast<int64_t>(json["samples"].size()), "sample"),
                                 json["method"].get<std::string>(), json["level"].get<std::string>(), folder);
  if (json["localization"].is_null()) return text;
  text += fmt::format("{:<20}{:>7}{:>10}{:>18}{:>11}{:>9}{:>10}\n", "label", "cases", "pointing",
                      "95% interval", "tolerance", "chance", "mean IoU");
  for (const auto& s : json["localization"]["scores"]) {
    const auto& game = s["pointing_game"];
    if (game["value"].is_null()) continue;
    text += fmt::format(
        "{:<20}{:>7}{:>10.3f}{:>18}{:>11.3f}{:>9.3f}{:>10.3f}\n", s["label"].get<std::string>(),
        s["cases"].get<int64_t>(), game["value"].get<double>(),
        fmt::format("{:.3f} to {:.3f}", game["low"].get<double>(), game["high"].get<double>()),
        s["with_tolerance"]["value"].get<double>(), s["chance"].get<double>(), s["mean_iou"].get<double>());
  }
  return text;
}

void explain_command(const ExplainCommand& options) {
  const bool files = !options.images.empty() || !options.table.empty();
  if (files == !options.split.empty()) {
    core::throw_input_error(
        {}, "explain: expected --split, or --images, --table or both (see medfusion explain --help)");
  }
  if (std::isnan(options.job.threshold)) {
    core::throw_input_error({}, "--map-threshold: expected a number in [0, 1], got nan");
  }
  const std::filesystem::path folder = options.out.empty() ? std::filesystem::path(options.run) / "explain"
                                                           : std::filesystem::path(options.out);
  std::vector<std::string> inputs = options.images;
  inputs.insert(inputs.end(), {options.table, options.job.boxes});
  check_output_folder("--out", folder, {"explain.json", "localization.csv", "overlays"}, inputs);
  const TrainedRun trained = open_run(options.run, options.common, options.data);
  ExplainJob job = options.job;
  job.split = options.split;
  job.method = map_method(options.method);
  job.levels = Levels::parse(options.level);
  const data::Dataset dataset =
      files ? open_images(options, trained, job) : open_split(options, trained, job);
  if (files) hold_against_schema({options.run, options.strict, options.common.quiet}, dataset);
  const core::Batch encoded = files && options.table.empty()
                                  ? trained.preprocessing.encode_missing(dataset.size())
                                  : trained.preprocessing.encode(dataset);
  const auto json = explain_run(trained, dataset, encoded, job, folder);
  print_result(options.common, json, summary(json, folder.string()));
}

}  // namespace

void add_explain_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "explain", "Explain predictions: maps, attention, contributions; score maps against boxes");
  const auto options = std::make_shared<ExplainCommand>();
  add_value(*command, "run", options->run, "RUN", "Run directory made by train")->required();
  add_value(*command, "--images", options->images, "PATH", "Image files, or folders of them");
  add_value(*command, "--table", options->table, "FILE.csv",
            "Table of the images' metadata, with the columns of the training data");
  add_value(*command, "--split", options->split, "NAME",
            "Part of the run's data, instead of images: train, val or test")
      ->check(one_of({"train", "val", "test"}));
  add_value(*command, "--data", options->data, "DIR",
            "Folder of the data, instead of the run's own and its pack");
  add_value(*command, "--limit", options->job.limit, "N",
            "Number of samples to explain, spread evenly over the data")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_value(*command, "--labels", options->job.labels, "NAME",
            "Labels to explain (default: a sample's positive and predicted labels)")
      ->delimiter(',');
  add_value(*command, "--level", options->level, "LEVEL",
            "Levels of the network to make maps from: C2 to C5 of the backbone or P2 to P5 of the "
            "pyramid; join several as P2+P3")
      ->capture_default_str();
  add_choice(*command, "--method", options->method, "NAME",
             {"guided", "integrated", "hirescam", "gradcam", "gradcam++", "attention", "occlusion"},
             "Method of the maps: guided, integrated, hirescam, gradcam, gradcam++, attention or occlusion");
  add_value(
      *command, "--boxes", options->job.boxes, "FILE.csv",
      "File with boxes of findings, against which maps are scored; format of BBox_List_2017.csv (or .gz)");
  add_value(*command, "--box-size", options->job.box_size, "N",
            "Width and height in pixels of the images that the boxes were drawn on (default: 1024 for nih, "
            "else each image's own)")
      ->check(CLI::Range(1, 65536));
  add_value(*command, "--map-threshold", options->job.threshold, "X",
            "A pixel belongs to the map's box if it has at least this share of the map's largest value")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_value(*command, "--out", options->out, "DIR",
            "Folder for explain.json, localization.csv and overlays/ (default: RUN/explain)");
  add_on_error_option(*command, options->on_error);
  add_strict_option(*command, options->strict);
  add_common_options(*command, options->common);
  command->footer(
      "Example (after medfusion train phantom --out runs/phantom):\n"
      "  medfusion explain runs/phantom --split test --limit 8 --boxes phantom/BBox_List_2017.csv");
  command->callback([options, &action] { action = [options] { explain_command(*options); }; });
}

}  // namespace medfusion::tools
