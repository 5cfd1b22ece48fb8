#include "tools/medfusion/run/explain_run.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "core/file.h"
#include "core/nearest.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "tools/evaluation/explain/localization.h"
#include "tools/evaluation/explain/overlay.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/explain_json.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using core::Tensor;
using Json = nlohmann::ordered_json;

std::string plain(const std::string& text) {
  std::string result = text;
  for (char& c : result) {
    const bool kept = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
    if (!kept) c = '_';
  }
  return result;
}

class Run {
 public:
  Run(const TrainedRun& run, const data::Dataset& dataset, const core::Batch& encoded, const ExplainJob& job,
      const fs::path& folder)
      : run_(run), dataset_(dataset), encoded_(encoded), job_(job), folder_(folder) {
    for (const std::string& name : job.labels) shown_.push_back(label_index(name));
    if (!job.boxes.empty()) place_boxes();
  }

  Json explain_all() {
    fs::create_directories(folder_ / "overlays");
    clear_overlays();
    // Evenly spread over the rows, so that they are not all of a few patients.
    const size_t count = job_.rows.size();
    const size_t limit = std::min(static_cast<size_t>(job_.limit), count);
    std::vector<int64_t> shown, rest;
    for (size_t i = 0; i < count; ++i) {
      if ((i + 1) * limit / count > i * limit / count) {
        shown.push_back(job_.rows[i]);
      } else if (has_boxes(job_.rows[i])) {
        rest.push_back(job_.rows[i]);
      }
    }
    for_batches(shown, true);
    for_batches(rest, false);
    return write();
  }

 private:
  int64_t label_index(const std::string& name) const {
    const auto found = std::find(run_.labels.begin(), run_.labels.end(), name);
    if (found == run_.labels.end()) {
      core::throw_input_error({}, "--labels: the run has no label '{}'{}", name,
                              core::did_you_mean(name, run_.labels));
    }
    return found - run_.labels.begin();
  }

  // Files of an earlier explanation, which this one replaces.
  void clear_overlays() const {
    for (const auto& entry : fs::directory_iterator(folder_ / "overlays")) {
      if (entry.path().extension() == ".png") fs::remove(entry.path());
    }
  }

  // Boxes of the rows, as fractions of their images.
  void place_boxes() {
    std::unordered_map<std::string, std::vector<const BoxRow*>> by_id;
    const std::vector<BoxRow> rows = read_boxes(job_.boxes);
    for (const BoxRow& row : rows) by_id[row.id].push_back(&row);
    for (const int64_t row : job_.rows) {
      const auto found = by_id.find(dataset_.ids[static_cast<size_t>(row)]);
      if (found == by_id.end() || !dataset_.images || !dataset_.images->present(row)) continue;
      double width = job_.box_size.value_or(1024.0), height = width;
      if (!job_.box_size && run_.config.data.format != data::DataFormat::nih) {
        const Tensor pixels = dataset_.images->read(row);
        height = static_cast<double>(pixels.size(0)), width = static_cast<double>(pixels.size(1));
      }
      for (const BoxRow* box : found->second) {
        const auto label = std::find(run_.labels.begin(), run_.labels.end(), box->label);
        if (label == run_.labels.end()) continue;
        if (target(row, label - run_.labels.begin()) == 0.0) continue;  // the table says otherwise
        boxes_[{found->first, box->label}].push_back(to_fractions(*box, width, height));
      }
    }
    if (boxes_.empty()) {
      core::throw_input_error({job_.boxes}, "expected boxes of the images and labels explained, got none");
    }
  }

  double target(int64_t row, int64_t label) const {  // NaN where unknown
    if (!dataset_.targets.defined()) return std::numeric_limits<double>::quiet_NaN();
    return dataset_.targets.at(row * dataset_.targets.size(1) + label);
  }

  const std::vector<FindingBox>* boxes_of(int64_t row, int64_t label) const {
    const auto found =
        boxes_.find({dataset_.ids[static_cast<size_t>(row)], run_.labels[static_cast<size_t>(label)]});
    return found == boxes_.end() ? nullptr : &found->second;
  }

  bool has_boxes(int64_t row) const {
    for (size_t l = 0; l < run_.labels.size(); ++l) {
      if (boxes_of(row, static_cast<int64_t>(l)) != nullptr) return true;
    }
    return false;
  }

  // The labels whose maps a batch needs: with an entry all, for localization those with boxes.
  std::vector<int64_t> map_labels(const data::Batch& batch, bool entries) const {
    std::vector<int64_t> labels;
    for (size_t l = 0; l < run_.labels.size(); ++l) {
      const auto label = static_cast<int64_t>(l);
      const bool wanted =
          (entries && (shown_.empty() || std::find(shown_.begin(), shown_.end(), label) != shown_.end())) ||
          std::any_of(batch.rows.begin(), batch.rows.end(),
                      [&](int64_t row) { return boxes_of(row, label) != nullptr; });
      if (wanted) labels.push_back(label);
    }
    return labels;
  }

  std::vector<std::vector<bool>> with_boxes(const data::Batch& batch,
                                            const std::vector<int64_t>& labels) const {
    std::vector<std::vector<bool>> result;
    for (const int64_t row : batch.rows) {
      auto& of_row = result.emplace_back();
      for (const int64_t label : labels) of_row.push_back(boxes_of(row, label) != nullptr);
    }
    return result;
  }

  void for_batches(const std::vector<int64_t>& rows, bool entries) {
    if (rows.empty()) return;
    const auto loader = make_loader(run_.config, dataset_, encoded_, rows, false);
    data::Batch batch;
    loader->begin_epoch(0);
    while (loader->next(batch)) {
      ExplainOptions options;
      options.method = job_.method;
      options.levels = job_.levels;
      options.attention = entries;
      options.map_labels = map_labels(batch, entries);
      if (!entries) options.wanted = with_boxes(batch, options.map_labels);
      const Explanation explanation = explain(*run_.network, batch, options);
      if (entries) average_.add(explanation, batch.size());
      optim::Predictions predictions{batch.rows, explanation.logits.clone(), {}, {}, {}};
      average_over_gaps(run_, dataset_, predictions);
      predictions.probabilities = probabilities_of(predictions.logits, run_);
      for (int64_t b = 0; b < batch.size(); ++b) {
        localize_sample(explanation, options, predictions.probabilities, b,
                        batch.rows[static_cast<size_t>(b)]);
        if (entries) add_entry(explanation, options, predictions, b);
      }
    }
  }

  void localize_sample(const Explanation& explanation, const ExplainOptions& options,
                       const Tensor& probabilities, int64_t sample, int64_t row) {
    for (size_t m = 0; m < options.map_labels.size(); ++m) {
      const int64_t label = options.map_labels[m];
      const Tensor& map = explanation.maps[static_cast<size_t>(sample)][m];
      const auto* boxes = boxes_of(row, label);
      if (boxes == nullptr || !map.defined()) continue;
      LocalizationCase result = localize(map, *boxes, job_.tolerance, job_.threshold);
      result.id = dataset_.ids[static_cast<size_t>(row)];
      result.label = run_.labels[static_cast<size_t>(label)];
      result.probability = probabilities.at(sample * probabilities.size(1) + label);
      cases_.push_back(result);
    }
  }

  // Whether a label of a sample is shown where the user named none.
  std::vector<bool> interesting(const Tensor& probabilities, int64_t sample, int64_t row) const {
    const size_t count = run_.labels.size();
    std::vector<bool> chosen(count, false);
    const auto probability = [&](size_t l) {
      return probabilities.at(sample * static_cast<int64_t>(count) + static_cast<int64_t>(l));
    };
    size_t likeliest = 0;
    for (size_t l = 0; l < count; ++l) {
      const auto label = static_cast<int64_t>(l);
      const bool named = std::find(shown_.begin(), shown_.end(), label) != shown_.end();
      chosen[l] = shown_.empty() ? target(row, label) == 1.0 || predicted(l, probabilities, sample) : named;
      if (probability(l) > probability(likeliest)) likeliest = l;
    }
    if (shown_.empty() && std::find(chosen.begin(), chosen.end(), true) == chosen.end()) {
      chosen[likeliest] = true;
    }
    return chosen;
  }

  std::optional<double> threshold(size_t label) const {
    if (label >= run_.preprocessing.thresholds.size()) return std::nullopt;
    return run_.preprocessing.thresholds[label].value;
  }
  bool predicted(size_t label, const Tensor& probabilities, int64_t sample) const {
    const Tensor of_sample = probabilities.slice(0, sample, sample + 1);
    const auto at = static_cast<int64_t>(label);
    if (run_.config.model.output == optim::Output::softmax)
      return optim::most_probable(of_sample).at(at) == 1.0;
    return of_sample.at(at) >= threshold(label).value_or(0.5);
  }

  void add_entry(const Explanation& explanation, const ExplainOptions& options,
                 const optim::Predictions& predictions, int64_t sample) {
    const Tensor& probabilities = predictions.probabilities;
    const int64_t row = predictions.rows[static_cast<size_t>(sample)];
    Json entry;
    entry["id"] = dataset_.ids[static_cast<size_t>(row)];
    const std::string text =
        dataset_.texts.empty() ? std::string() : dataset_.texts[static_cast<size_t>(row)];
    const std::vector<bool> shown = interesting(probabilities, sample, row);
    for (size_t l = 0; l < run_.labels.size(); ++l) {
      const auto label = static_cast<int64_t>(l);
      const double probability = probabilities.at(sample * probabilities.size(1) + label);
      Json json;
      json["label"] = run_.labels[l];
      json["probability"] = number(probability);
      json["logit"] = number(predictions.logits.at(sample * predictions.logits.size(1) + label));
      json["threshold"] = threshold(l) ? number(*threshold(l)) : Json();
      json["predicted"] = predicted(l, probabilities, sample);
      json["target"] = number(target(row, label));
      if (shown[l]) {
        json.update(label_json(explanation, sample, label, run_, text));
        for (size_t m = 0; m < options.map_labels.size(); ++m) {
          const Tensor& map = explanation.maps[static_cast<size_t>(sample)][m];
          if (options.map_labels[m] == label && map.defined()) draw(json, map, row, label, probability);
        }
      }
      entry["labels"].push_back(json);
    }
    samples_.push_back(entry);
  }

  void draw(Json& json, const Tensor& map, int64_t row, int64_t label, double probability) {
    const std::string& id = dataset_.ids[static_cast<size_t>(row)];
    const std::string& name = run_.labels[static_cast<size_t>(label)];
    OverlayOptions overlay;
    const double truth = target(row, label);
    overlay.lines = {fmt::format("{}: probability {:.2f}{}", name, probability,
                                 std::isnan(truth) ? ""
                                 : truth == 1.0    ? ", truly there"
                                                   : ", truly not there"),
                     id};
    const Peak peak = peak_of(map);
    json["peak"] = {number((static_cast<double>(peak.column) + 0.5) / static_cast<double>(map.size(1))),
                    number((static_cast<double>(peak.row) + 0.5) / static_cast<double>(map.size(0)))};
    json["largest"] = number(peak.value);
    if (const auto* boxes = boxes_of(row, label)) {
      overlay.boxes = *boxes;
      const LocalizationCase found = localize(map, *boxes, job_.tolerance, job_.threshold);
      json["boxes"] = Json::array();
      for (const FindingBox& box : *boxes) {
        json["boxes"].push_back({number(box.left), number(box.top), number(box.right), number(box.bottom)});
      }
      json["hit"] = found.hit;
      json["iou"] = number(found.iou);
    }
    const std::string file = fmt::format("overlays/{:04}_{}_{:02}_{}.png", samples_.size(),
                                         plain(fs::path(id).stem().string()), label, plain(name));
    const Tensor image = data::to_unit_range(dataset_.images->read(row), run_.config.data.image.channels);
    data::write_png((folder_ / file).string(), draw_overlay(image, map, overlay));
    json["overlay"] = file;
  }

  std::string level_text() const {
    if (job_.method == MapMethod::occlusion || job_.method == MapMethod::integrated) return "image";
    return job_.method == MapMethod::attention ? "tokens" : job_.levels.text();
  }

  Json write() const {
    Json json;
    json["version"] = MEDFUSION_VERSION;
    json["method"] = name_of(job_.method);
    json["level"] = level_text();
    json["split"] = job_.split.empty() ? Json() : Json(job_.split);
    json["labels"] = run_.labels;
    json["samples"] = samples_;
    json["attention"] = average_.to_json(run_.labels);
    json["localization"] = Json();
    std::error_code none;
    if (job_.boxes.empty()) {
      fs::remove(folder_ / "localization.csv", none);  // of an earlier explanation
    } else {
      const std::vector<LocalizationScore> scores = score(cases_, run_.labels);
      json["localization"] = localization_json(scores, cases_);
      json["localization"]["tolerance"] = number(job_.tolerance);
      json["localization"]["map_threshold"] = number(job_.threshold);
      core::write_file((folder_ / "localization.csv").string(), localization_csv(scores));
    }
    core::write_file((folder_ / "explain.json").string(), to_text(json, 1) + "\n");
    return json;
  }

  const TrainedRun& run_;
  const data::Dataset& dataset_;
  const core::Batch& encoded_;
  const ExplainJob& job_;
  const fs::path folder_;
  std::vector<int64_t> shown_;
  BoxesOf boxes_;
  Json samples_ = Json::array();
  AttentionAverage average_;
  std::vector<LocalizationCase> cases_;
};

}  // namespace

Json explain_run(const TrainedRun& run, const data::Dataset& dataset, const core::Batch& encoded,
                 const ExplainJob& job, const fs::path& folder) {
  return Run(run, dataset, encoded, job, folder).explain_all();
}

}  // namespace medfusion::tools
