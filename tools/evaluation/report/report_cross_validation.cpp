// The report on the folder of a cross-validation.
#include <fmt/format.h>

#include <array>

#include "core/error.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string spread_text(const Json& mean, const Json& deviation) {
  return number_text(mean) + (deviation.is_number() ? " &plusmn; " + number_text(deviation) : "");
}

}  // namespace

Html folds_section(const RunRecord& run) {
  if (run.folds.empty()) return "";
  const Json& macro = run.cross_validation.at("macro_auroc");
  HtmlTable table({"macro AUROC", "value"});
  table.row({"mean over folds", spread_text(macro.at("mean"), macro.at("std"))});
  for (size_t fold = 0; fold < macro.at("per_fold").size(); ++fold)
    table.row({fmt::format("fold {}", fold), number_text(macro["per_fold"][fold])});
  const Json& seeds = run.cross_validation.at("seeds");
  if (seeds.size() > 1) {
    for (size_t i = 0; i < seeds.size(); ++i) {
      table.row({fmt::format("seed {}, all folds", seeds[i].get<int64_t>()),
                 number_text(macro.at("per_seed").at(i))});
    }
    table.row({"deviation over seeds", number_text(macro.at("seed_std"))});
  }
  HtmlTable labels({"label", "AUROC, mean over folds", "folds that have it"});
  const size_t all = macro.at("per_fold").size() * seeds.size();
  for (const auto& [name, label] : run.cross_validation.at("labels").items()) {
    labels.row({html_escape(name), number_text(label.at("auroc")),
                fmt::format("{} of {}", label.at("defined_in").get<int64_t>(), all)});
  }
  return fmt::format(
             "<p>{} folds, {} seed{}{}; &plusmn; is the standard deviation of the folds, each the mean "
             "over its seeds. The AUROC with folds pooled ranks the rows of all folds together. It can be "
             "far from the mean, for the networks of two folds may give like rows other probabilities.</p>\n",
             run.cross_validation.at("folds").get<int64_t>(), seeds.size(), seeds.size() == 1 ? "" : "s",
             run.cross_validation.value("redrawn", false) ? ", folds drawn anew for each" : "") +
         table.html("macro-auroc") + labels.html("label-auroc");
}

Html protocols_section(const RunRecord& run) {
  if (run.protocols.is_null()) return "";
  const Json& protocols = run.protocols;
  constexpr std::array<std::pair<const char*, const char*>, 5> kShownMeasures{
      {{"accuracy", "accuracy"},
       {"f1", "F1, positive class"},
       {"f1_weighted", "F1, weighted over classes"},
       {"gmean", "G-mean"},
       {"auroc", "AUROC"}}};
  HtmlTable table({"label", "measure", "as published (wrong)", "same network, honest", "honest"});
  const auto percent = [](const Json& value) { return percent_text(value, 2); };
  const auto rows = [&](const std::string& name, const Json& published, const Json& same,
                        const Json& honest) {
    for (const auto& [key, title] : kShownMeasures)
      table.row({name, title, percent(published.at(key)), percent(same.at(key)), percent(honest.at(key))});
  };
  const Json& published = protocols.at("as_published");
  const Json& same = protocols.at("same_network");
  const Json& honest = protocols.at("honest");
  rows("<b>macro</b>", published.at("macro"), same.at("macro"), honest.at("macro"));
  for (const auto& [name, label] : honest.at("labels").items())
    rows(html_escape(name), published.at("labels").at(name), same.at("labels").at(name), label);
  return "<div class=\"warning\"><b>The figures under &quot;as published&quot; are wrong.</b> " +
         html_escape(protocols.value("warning", "")) +
         ". They are shown with the honest ones because many published figures are made in this way. "
         "&quot;Same "
         "network&quot; has the same settings; the only difference is that it resamples inside the training "
         "part of the honest folds.</div>\n" +
         table.html("measures");
}

}  // namespace medfusion::tools
