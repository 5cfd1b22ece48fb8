#include "tools/medfusion/run/published_protocol.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "core/file.h"
#include "data/statistics/confusion.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/compare_folds.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

struct ShownMeasure {
  const char *key, *title;
};
constexpr ShownMeasure kShownMeasures[] = {{"accuracy", "accuracy"},
                                           {"f1", "F1, positive class"},
                                           {"f1_weighted", "F1, weighted over classes"},
                                           {"gmean", "G-mean"},
                                           {"auroc", "AUROC"}};

// Means over the folds added.
class Means {
 public:
  void add(const FoldOutcome& outcome) {
    const optim::Predictions& predictions = outcome.predictions;
    for (int64_t l = 0; l < predictions.probabilities.size(1); ++l) {
      const optim::LabelMetrics& label = outcome.metrics.labels[static_cast<size_t>(l)];
      for (const optim::Metric metric : optim::kMetrics) {
        if (label[metric].defined()) means_[{label.name, name_of(metric)}].add(*label[metric].value);
      }
      if (!label.threshold.defined()) continue;
      const auto counts = data::confusion_at(column(predictions.probabilities, l),
                                             column(predictions.targets, l), *label.threshold.value);
      means_[{label.name, "f1_weighted"}].add(data::weighted_f1(counts));
    }
  }

  nlohmann::ordered_json to_json(const std::vector<std::string>& labels) const {
    nlohmann::ordered_json json;
    for (const auto& [measure, title] : kShownMeasures) {
      data::Mean macro;
      for (const std::string& label : labels) {
        const auto found = means_.find({label, measure});
        const double mean = found == means_.end() ? std::nan("") : found->second.value();
        json["labels"][label][measure] = number_or_null(mean);
        macro.add(mean);
      }
      json["macro"][measure] = number_or_null(macro.value());
    }
    return json;
  }

 private:
  std::map<std::pair<std::string, std::string>, data::Mean> means_;
};

// The settings of the other two comparisons for one label: its classes are balanced.
Config config_for(const Config& honest, const std::string& label, int64_t folds, bool before_split) {
  ConfigBuilder builder;
  Config start = honest;
  start.data.labels = {label};
  start.data.labels_file.clear();
  start.data.min_positives = 0;
  start.data.split.folds = std::to_string(folds);
  start.data.split.fold = 0;
  start.resample.method = start.published.method;
  start.resample.label = label;
  start.resample.before_split = before_split;
  if (before_split)
    start.data.guard.allow.insert(start.data.guard.allow.end(), {"patient", "duplicate", "resampling"});
  builder.read_text(to_toml(start), "published.settings");
  for (const std::string& setting : honest.published.settings) builder.set(setting);
  return builder.build();
}

// All folds and seeds of one label.
void run_label(const CrossValidation& options, Config config, bool honest, const std::filesystem::path& out,
               Means& means) {
  data::Dataset dataset;
  std::vector<int64_t> folds;
  for (int64_t s = 0; s < options.seeds; ++s) {
    config.seed = options.config.seed + s;
    const bool redraw = options.redraw || s == 0;
    data::DataOptions data_options = to_data_options(config);
    if (honest && !options.config.data.split.fold_count())
      data_options.split.folds = options.config.data.split.folds;
    // What is made before the split differs from seed to seed, as the folds do.
    if (redraw || !honest) dataset = open_data(config, data_options);
    if (redraw || !honest) folds = data::assign_folds(data_options, dataset);
    check_folds(config, dataset, folds);
    const auto folder = seed_folder(out, options.seeds, config.seed);
    Config resolved = config;
    write_folds(folder, dataset, folds, resolved);
    const std::string title =
        fmt::format("{} {}{} ", honest ? "same network" : "as published", config.data.labels.front(),
                    options.seeds > 1 ? fmt::format(" seed {}", config.seed) : std::string());
    run_folds({options, resolved, folds, folder, title}, dataset,
              [&](const FoldOutcome& outcome) { means.add(outcome); });
  }
}

}  // namespace

nlohmann::ordered_json compare_protocols(const CrossValidation& options) {
  Means honest, published, same;
  // Refuses published.settings that are wrong, and data that cannot be resampled, before hours of training.
  config_for(options.config, "label", 2, true);
  open_data(config_for(options.config, open_data(options.config).labels.front(), 2, true));
  const auto cv = cross_validate(options, [&](const FoldOutcome& outcome) { honest.add(outcome); });
  std::vector<std::string> labels;
  for (const auto& [label, value] : cv["labels"].items()) labels.push_back(label);
  const auto folds = cv["folds"].get<int64_t>();
  for (const std::string& label : labels) {
    run_label(options, config_for(options.config, label, folds, true), false,
              options.out / "as-published" / label, published);
    run_label(options, config_for(options.config, label, folds, false), true,
              options.out / "same-network" / label, same);
  }
  nlohmann::ordered_json json;
  json["warning"] =
      "as_published is wrong on purpose: it resamples before it splits, so that the test part holds mixtures "
      "and copies of training rows";
  json["as_published"] = published.to_json(labels);
  json["same_network"] = same.to_json(labels);
  json["honest"] = honest.to_json(labels);
  json["folds"] = folds;
  json["seeds"] = cv["seeds"];
  core::write_file((options.out / "protocols.json").string(), to_text(json, 2) + "\n");
  return json;
}

std::string protocols_table(const nlohmann::ordered_json& protocols) {
  std::string text =
      "THE FIGURES UNDER \"AS PUBLISHED\" ARE WRONG. All rows were resampled before they were split: test "
      "rows\n"
      "are mixtures or copies of training rows, and the test part is balanced as no clinic is. They are "
      "shown\n"
      "beside the honest ones because many published figures are made like this. \"Same network\" differs "
      "in\n"
      "nothing but that it resamples inside the training part of the honest folds.\n\n";
  const auto cell = [](const nlohmann::ordered_json& value) {
    return value.is_null() ? std::string("undefined") : fmt::format("{:.2f} %", 100.0 * value.get<double>());
  };
  text += fmt::format("{:<14} {:<26} {:>12} {:>14} {:>12}\n", "label", "measure", "as published",
                      "same network", "honest");
  const auto rows = [&](const std::string& label, const std::string& pointer) {
    for (const auto& [measure, title] : kShownMeasures) {
      const nlohmann::ordered_json::json_pointer place(pointer + "/" + measure);
      text += fmt::format("{:<14} {:<26} {:>12} {:>14} {:>12}\n", label, title,
                          cell(protocols["as_published"][place]), cell(protocols["same_network"][place]),
                          cell(protocols["honest"][place]));
    }
  };
  rows("macro", "/macro");
  const nlohmann::ordered_json::json_pointer root("/labels");
  for (const auto& [label, value] : protocols["honest"]["labels"].items()) {
    rows(label, (root / label).to_string());
  }
  return text;
}

}  // namespace medfusion::tools
