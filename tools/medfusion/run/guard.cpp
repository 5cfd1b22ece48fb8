#include "tools/medfusion/run/guard.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/tell.h"
#include "data/leakage.h"
#include "data/statistics/ranking.h"
#include "data/text/tokenizer.h"
#include "tools/medfusion/config/options.h"

namespace medfusion::tools {
namespace {

constexpr double kSuspicious = 0.80;
constexpr int64_t kFewest = 10;  // of each class: below, an AUROC says little

constexpr const char* kMissing = "whether it is missing";

// A way to read a column as a score; NaN leaves a row out.
struct Reading {
  std::string what;
  std::vector<double> scores;
};

std::vector<Reading> readings(const data::Column& column, const std::vector<int64_t>& rows) {
  std::vector<Reading> result{{kMissing, {}}};
  std::set<std::string> categories;
  for (const int64_t row : rows) {
    const auto index = static_cast<size_t>(row);
    const bool missing =
        column.numeric ? std::isnan(column.numbers[index]) : column.categories[index].empty();
    result.front().scores.push_back(missing ? 1.0 : 0.0);
    if (!column.numeric && !missing) categories.insert(column.categories[index]);
  }
  if (column.numeric) {
    result.push_back({"its value", {}});
    for (const int64_t row : rows) result.back().scores.push_back(column.numbers[static_cast<size_t>(row)]);
  }
  for (const std::string& category : categories) {
    result.push_back({fmt::format("category '{}'", category), {}});
    for (const int64_t row : rows) {
      const std::string& cell = column.categories[static_cast<size_t>(row)];
      result.back().scores.push_back(cell.empty() ? std::nan("") : cell == category ? 1.0 : 0.0);
    }
  }
  return result;
}

// The AUROC of a reading in its better direction; 0 where there is none.
double strength(const Reading& reading, const std::vector<double>& targets) {
  std::vector<double> scores, labels;
  int64_t positives = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (std::isnan(reading.scores[i]) || std::isnan(targets[i])) continue;
    scores.push_back(reading.scores[i]);
    labels.push_back(targets[i]);
    positives += targets[i] == 1.0 ? 1 : 0;
  }
  if (positives < kFewest || static_cast<int64_t>(labels.size()) - positives < kFewest) return 0.0;
  const double value = data::auroc(scores, labels);
  return std::max(value, 1.0 - value);
}

// Columns that tell a label in the same way.
struct Suspicion {
  std::vector<std::string> columns;
  std::string what, label;
  double least = 1.0, most = 0.0;  // AUROC
};

// Columns that are missing together are one suspicion.
void add_suspicion(std::vector<Suspicion>& found, const std::string& column, const std::string& what,
                   const std::string& label, double value) {
  auto same = std::find_if(found.begin(), found.end(), [&](const Suspicion& each) {
    return what == kMissing && each.what == what && each.label == label;
  });
  if (same == found.end()) same = found.insert(found.end(), {{}, what, label});
  same->columns.push_back(column);
  same->least = std::min(same->least, value);
  same->most = std::max(same->most, value);
}

std::string text_of(const Suspicion& suspicion) {
  const auto& [columns, what, label, least, most] = suspicion;
  std::string auroc = fmt::format("{:.2f}", least);
  if (const std::string upper = fmt::format("{:.2f}", most); upper != auroc) auroc += " to " + upper;
  if (columns.size() == 1) {
    return fmt::format("column '{}' alone ({}) tells '{}' at an AUROC of {} on training rows: does it leak?",
                       columns[0], what, label, auroc);
  }
  return fmt::format(
      "each of the columns '{}' alone ({}) tells '{}' at an AUROC of {} on training rows: do they leak?",
      fmt::join(columns, "', '"), what, label, auroc);
}

}  // namespace

void refuse_leaks(const Config& config, const data::Dataset& dataset, const data::Splits& splits) {
  const data::LeakRules rules = to_leak_rules(config);
  if (config.model.modalities.table) data::check_inputs(dataset, rules);
  data::check_parts(dataset, splits, rules);
}

void refuse_missing_images(const Config& config, const data::Dataset& dataset) {
  if (!config.model.modalities.image || dataset.images != nullptr) return;
  core::throw_input_error({},
                          "model.modalities.image: expected false, for the data has no images "
                          "(data.image_column); the branches dense and pyramid need them too");
}

std::vector<std::string> suspicious_columns(const data::Dataset& dataset, const std::vector<int64_t>& rows) {
  std::vector<Suspicion> found;
  const auto labels = static_cast<int64_t>(dataset.labels.size());
  for (const data::Column& column : dataset.columns) {
    const std::vector<Reading> all = readings(column, rows);
    for (int64_t label = 0; label < labels; ++label) {
      std::vector<double> targets;
      for (const int64_t row : rows) targets.push_back(dataset.targets.at(row * labels + label));
      for (const Reading& reading : all) {
        const double value = strength(reading, targets);
        if (value <= kSuspicious) continue;
        add_suspicion(found, column.name, reading.what, dataset.labels[static_cast<size_t>(label)], value);
        break;
      }
    }
  }
  std::vector<std::string> warnings;
  for (const Suspicion& each : found) warnings.push_back(text_of(each));
  return warnings;
}

std::vector<std::string> text_notes(const Config& config, const data::Dataset& dataset,
                                    const std::vector<int64_t>& rows) {
  std::vector<std::string> notes;
  if (!config.model.modalities.text || dataset.texts.empty()) return notes;
  const data::TextOptions& options = config.data.text;
  const auto tokenizer = data::Tokenizer::fit(dataset.texts, rows, options.min_count, options.length);
  int64_t texts = 0, cut = 0;
  for (const int64_t row : rows) {
    const auto words =
        static_cast<int64_t>(tokenizer.words_of(dataset.texts[static_cast<size_t>(row)]).size());
    texts += words > 0 ? 1 : 0;
    cut += words > options.length ? 1 : 0;
  }
  if (texts > 0 && tokenizer.words().empty()) {
    notes.push_back(
        fmt::format("the texts have no vocabulary: the training part has no word {} times "
                    "(data.text_min_count)",
                    options.min_count));
  }
  if (cut > 0 && 2 * cut >= texts) {
    notes.push_back(
        fmt::format("half of the texts or more are longer than the {} words that are read "
                    "(data.text_length)",
                    options.length));
  }
  return notes;
}

void print_remarks(const std::vector<std::string>& notes, const std::vector<std::string>& warnings) {
  for (const std::string& note : notes) core::tell("note: {}\n", note);
  for (const std::string& warning : warnings) core::tell("warning: {}\n", warning);
}

nlohmann::ordered_json describe_guard(const Config& config, const data::Dataset& dataset,
                                      const std::vector<std::string>& warnings) {
  return {{"allowed", config.data.guard.allow}, {"notes", dataset.notes}, {"warnings", warnings}};
}

}  // namespace medfusion::tools
