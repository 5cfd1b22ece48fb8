// Sections of the report: where the data went, and how training went.
#include <fmt/format.h>

#include <cmath>

#include "tools/evaluation/chart.h"
#include "tools/evaluation/report.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string count_text(const Json& value) {
  return value.is_number() ? fmt::format("{}", value.get<int64_t>()) : "-";
}

// A number of the run's history by epoch; key: a name, or a JSON pointer.
ChartSeries history_series(const RunRecord& run, const std::string& key, const std::string& name) {
  ChartSeries series;
  series.name = name;
  const Json::json_pointer at(key.starts_with('/') ? key : "/" + key);
  for (const Json& entry : run.history) {
    if (entry.contains("epoch") && entry.contains(at) && entry.at(at).is_number()) {
      series.points.emplace_back(entry["epoch"].get<double>(), entry.at(at).get<double>());
    }
  }
  series.marks = series.points.size() < 40;
  return series;
}

}  // namespace

HtmlSection data_section(const RunRecord& run) {
  HtmlSection section{"data", "Data flow and proof of the split", ""};
  const Json& data = run.data;
  HtmlTable parts({"part", "images", "patients", "hash of the row names"});
  for (const auto& [name, part] : data.at("parts").items()) {
    parts.row({html_escape(name), count_text(part.value("rows", Json())),
               count_text(part.value("patients", Json())), html_escape(part.value("ids_hash", "-"))});
  }
  section.body =
      fmt::format("<p>{} rows were read; each part below was drawn from them, the rest was not used.</p>\n",
                  count_text(data.value("rows", Json()))) +
      parts.html();
  if (data.contains("shared_patients")) {
    HtmlTable shared({"two parts", "patients in both"});
    for (const auto& [name, count] : data["shared_patients"].items())
      shared.row({html_escape(name), count_text(count)});
    section.body +=
        "<p>Training refuses to start where a patient is in two parts. Counted again from the parts of this "
        "run:</p>\n" +
        shared.html();
  }
  section.body +=
      "<p>The hash of the data covers tables, lists, and the names and sizes of the images; the hash of a "
      "part covers its row names in order. "
      "Two runs with equal hashes saw the same rows.</p>\n";
  if (data.contains("train_positives")) {
    HtmlTable positives({"label", "positive in training", "positive in the evaluated part"});
    for (const auto& [name, count] : data["train_positives"].items()) {
      std::string evaluated = "-";
      if (run.evaluation.is_object() && run.evaluation.at("labels").contains(name)) {
        evaluated = count_text(run.evaluation["labels"][name].at("positives"));
      }
      positives.row({html_escape(name), count_text(count), evaluated});
    }
    section.body += positives.html();
  }
  return section;
}

HtmlSection training_section(const RunRecord& run) {
  HtmlSection section{"training", "Training", ""};
  if (run.history.empty()) {
    section.body = "<p>The run has no epochs: its weights are those it began with.</p>\n";
    return section;
  }
  section.body = "<div class=\"figures\">\n";
  const auto add = [&](Chart chart) {
    std::erase_if(chart.series, [](const ChartSeries& series) { return series.points.empty(); });
    if (!chart.series.empty()) section.body += "<figure>" + chart_svg(chart) + "</figure>\n";
  };
  Chart loss{"Loss", "epoch", "loss", {}};
  loss.series = {history_series(run, "train_loss", "training"),
                 history_series(run, "val_loss", "validation")};
  add(loss);
  Chart auroc{"Macro AUROC on the validation part", "epoch", "AUROC", {}};
  auroc.series = {history_series(run, "/val/macro/auroc", "")};
  add(auroc);
  Chart rate{"Learning rate", "epoch", "learning rate", {}};
  rate.series = {history_series(run, "learning_rate", "")};
  add(rate);
  Chart norm{"Norm of the gradient, before clipping", "epoch", "norm", {}};
  norm.series = {history_series(run, "gradient_norm", "")};
  add(norm);
  section.body += "</div>\n";
  return section;
}

}  // namespace medfusion::tools
