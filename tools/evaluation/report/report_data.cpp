// Sections of the report: where the data went, and how training went.
#include <fmt/format.h>

#include <algorithm>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// A number of the run's history by epoch; key: a name, or a JSON pointer.
ChartSeries history_series(const RunRecord& run, const std::string& key, const std::string& name = "") {
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

std::string shared_text(const Json& data) {
  int64_t most = 0;
  if (!data.contains("shared_patients")) return "-";
  for (const auto& [name, count] : data["shared_patients"].items()) {
    most = std::max(most, count.get<int64_t>());
  }
  return fmt::format("{}", most);
}

Html parts_html(const RunRecord& run) {
  const Json& data = run.data;
  HtmlTable parts({"part", samples_word(run), "patients", "hash of the row names"});
  for (const auto& [name, part] : data.at("parts").items()) {
    parts.row({html_escape(name), count_text(part.value("rows", Json())),
               count_text(part.value("patients", Json())), html_escape(part.value("ids_hash", "-"))});
  }
  Html html =
      fmt::format("<p>{} rows were read; each part below was drawn from them, the rest was not used.</p>\n",
                  count_text(data.value("rows", Json()))) +
      parts.html("parts");
  if (data.contains("shared_patients")) {
    HtmlTable shared({"two parts", "patients in both"}, "Counted again from the parts of this run");
    for (const auto& [name, count] : data["shared_patients"].items())
      shared.row({html_escape(name), count_text(count)});
    html += shared.html("shared-patients");
  }
  return html;
}

Html folds_html(const RunRecord& run) {
  HtmlTable folds({"fold", "training", "patients", "validation", "patients", "test", "patients",
                   "patients in two parts"});
  for (const FoldRecord& fold : run.folds) {
    const Json& parts = fold.data.at("parts");
    std::vector<std::string> row{html_escape(fold.name)};
    for (const char* part : {"train", "val", "test"}) {
      const Json entry = parts.value(part, Json::object());
      row.push_back(count_text(entry.value("rows", Json())));
      row.push_back(count_text(entry.value("patients", Json())));
    }
    row.push_back(shared_text(fold.data));
    folds.row(std::move(row));
  }
  return fmt::format(
             "<p>{} rows were read; every one of them is in the test part of one fold, and each fold's "
             "network was trained without its test part.</p>\n",
             count_text(run.data.value("rows", Json()))) +
         folds.html("folds");
}

}  // namespace

Html data_section(const RunRecord& run) {
  Html html = (run.folds.empty() ? parts_html(run) : folds_html(run)) + table_one(run) + guard_html(run) +
              "<p>The hash of the data covers tables, lists, and the names and sizes of the images; the "
              "hash of a part covers its row names in order. Two runs with equal hashes saw the same "
              "rows.</p>\n" +
              fitted_table(run);
  if (run.folds.empty() && run.schema.is_null() && run.data.contains("train_positives")) {
    HtmlTable positives({"label", "positive in training", "positive in the evaluated part"});
    for (const auto& [name, count] : run.data["train_positives"].items()) {
      std::string evaluated = "-";
      if (run.evaluation.is_object() && run.evaluation.at("labels").contains(name))
        evaluated = count_text(run.evaluation["labels"][name].at("positives"));
      positives.row({html_escape(name), count_text(count), evaluated});
    }
    html += positives.html("positives");
  }
  return html;
}

Html training_section(const RunRecord& run) {
  if (run.history.empty()) return "<p>The run has no epochs: its weights are those it began with.</p>\n";
  Html html = "<div class=\"figures\">\n";
  const auto add = [&](const char* name, const char* title, const char* y_label,
                       std::vector<ChartSeries> series, double highest = 0.0) {
    std::erase_if(series, [](const ChartSeries& each) { return each.points.empty(); });
    if (series.empty()) return;
    Chart chart{title, "epoch", y_label, std::move(series), {}, {0.0, highest}};
    chart.whole = true;
    html += chart_figure(chart, name);
  };
  add("loss", "Loss", "loss",
      {history_series(run, "train_loss", "training"), history_series(run, "val_loss", "validation")});
  add("auroc", "Macro AUROC on the validation part", "AUROC", {history_series(run, "/val/macro/auroc")});
  const ChartSeries rate = history_series(run, "learning_rate");
  double highest = 0.0;  // the axis begins at 0: ticks far from it would have more digits than fit
  for (const auto& point : rate.points) highest = std::max(highest, 1.05 * point.second);
  add("learning-rate", "Learning rate", "learning rate", {rate}, highest);
  add("gradient-norm", "Norm of the gradient, before clipping", "norm",
      {history_series(run, "gradient_norm")});
  return html + "</div>\n";
}

}  // namespace medfusion::tools
