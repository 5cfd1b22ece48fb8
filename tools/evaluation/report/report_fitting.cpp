#include "tools/evaluation/report/report_fitting.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// The folds of a cross-validation, or the run itself as the only one.
std::vector<FoldRecord> fits_of(const RunRecord& run) {
  if (!run.folds.empty()) return run.folds;
  return {{"", run.data, run.preprocessing}};
}

// "231 validation rows of 99 patients"; of several folds the range of their rows.
std::string rows_text(const RunRecord& run, const std::string& part, const char* word) {
  std::vector<int64_t> rows;
  for (const FoldRecord& fold : fits_of(run)) {
    const Json count = value_at(fold.data, "/parts/" + part + "/rows");
    rows.push_back(count.is_null() ? 0 : count.get<int64_t>());
  }
  const auto [least, most] = std::minmax_element(rows.begin(), rows.end());
  if (*most == 0) return "";
  if (rows.size() == 1) {
    const Json patients = value_at(fits_of(run)[0].data, "/parts/" + part + "/patients");
    return fmt::format("{} {} rows", *most, word) +
           (patients.is_null() ? "" : fmt::format(" of {} patients", patients.get<int64_t>()));
  }
  const std::string range =
      *least == *most ? fmt::format("{}", *most) : fmt::format("{} to {}", *least, *most);
  return fmt::format("the {} {} rows of each of {} folds", range, word, rows.size());
}

// Entries of a list of preprocessing.json, over labels and folds: how many are fitted, and why others are
// not.
struct FitCount {
  int64_t fitted = 0, all = 0;
  std::map<std::string, std::vector<std::string>> reasons;  // labels by reason

  std::string share(const RunRecord& run) const {
    return fmt::format("{} of {} {}", fitted, all, run.folds.empty() ? "labels" : "labels and folds");
  }
  // Of many folds the reasons would be a page.
  std::string fold_note() const {
    std::map<std::string, int64_t> times;
    for (const auto& [reason, labels] : reasons) {
      for (const std::string& label : labels) ++times[label];
    }
    std::vector<std::string> parts;
    for (const auto& [label, count] : times) parts.push_back(fmt::format("{} {} times", label, count));
    return parts.empty() ? "" : list_text(parts) + "; preprocessing.json of each fold says why";
  }
  std::string note(const RunRecord& run) const {
    if (!run.folds.empty()) return fold_note();
    std::string text;
    for (const auto& [reason, labels] : reasons) {
      const bool every = static_cast<int64_t>(labels.size()) == all && all > 1;
      text += (text.empty() ? "" : "; ") + (every ? std::string("all") : list_text(labels)) + ": " + reason;
    }
    return text;
  }
};

std::vector<std::string> label_names(const FoldRecord& fold) {
  std::vector<std::string> names;
  const Json positives = value_at(fold.data, "/train_positives");
  for (const auto& [name, count] : positives.items()) names.push_back(name);
  return names;
}

// reason_of: why the entry is not fitted, empty where it is.
template <class Reason>
FitCount count_fits(const RunRecord& run, const std::string& list, Reason&& reason_of) {
  FitCount result;
  for (const FoldRecord& fold : fits_of(run)) {
    const Json entries = value_at(fold.preprocessing, "/" + list);
    const auto names = label_names(fold);
    for (size_t i = 0; i < entries.size(); ++i) {
      ++result.all;
      const std::string reason = reason_of(entries[i]);
      const std::string name = i < names.size() ? html_escape(names[i]) : fmt::format("label {}", i + 1);
      if (reason.empty()) {
        ++result.fitted;
      } else {
        result.reasons[html_escape(reason)].push_back(name);
      }
    }
  }
  return result;
}

FitCount fitted_thresholds(const RunRecord& run) {
  return count_fits(run, "thresholds", [](const Json& entry) {
    return entry.value("value", Json()).is_number() ? std::string() : entry.value("undefined", "undefined");
  });
}

FitCount fitted_calibration(const RunRecord& run) {
  return count_fits(run, "calibration", [](const Json& entry) {
    return entry.value("method", "none") != "none" ? std::string()
                                                   : entry.value("reason", "calibration.method is none");
  });
}

FitCount fitted_risk(const RunRecord& run) {
  return count_fits(run, "risk", [](const Json& entry) {
    for (const char* level : {"low", "high"}) {
      if (entry.value(level, Json()).is_number()) continue;
      const Json why = entry.value("undefined", Json::object());
      return why.value(level, std::string("risk.method is none"));
    }
    return std::string();
  });
}

Fitted on_validation(const RunRecord& run, const std::string& how, const FitCount& counts) {
  const std::string rows = rows_text(run, "val", "validation");
  const bool none = counts.fitted == 0 || rows.empty();
  std::string note = counts.note(run);
  if (rows.empty()) note = "the validation part is empty";
  return {none ? "none" : how + ", " + counts.share(run), none ? "nothing" : rows, note};
}

Fitted preprocessing_of(const RunRecord& run) {
  std::vector<std::string> what;
  if (!value_at(run.preprocessing, "/table").is_null())
    what.emplace_back("scale and fill of the table's columns");
  if (!run.features.is_null()) what.emplace_back("stage one");
  if (reads_text(run)) what.emplace_back("the text's words");
  if (what.empty()) return {"nothing is fitted", "nothing", ""};
  return {list_text(what), rows_text(run, "train", "training"), ""};
}

Fitted weights_of(const RunRecord& run) {
  const std::string epochs = setting_of(run, "train.epochs");
  if (epochs == "0") return {"those the run began with, no epoch was trained", "nothing", ""};
  Fitted result{
      "the network" +
          (epochs.empty() ? "" : ", at most " + html_escape(epochs) + (epochs == "1" ? " epoch" : " epochs")),
      rows_text(run, "train", "training"), ""};
  const std::string method = setting_of(run, "resample.method");
  if (setting_is_on(run, "resample.before_split")) {
    result.note = "all rows were resampled before the split";
  } else if (!method.empty() && method != "none") {
    result.note = "over-sampled by " + html_escape(method);
    if (run.folds.empty() && run.data.contains("resampled"))
      result.note += fmt::format(" to {} rows", run.data["resampled"].value("rows", int64_t{0}));
  }
  return result;
}

// The epoch of the best checkpoint so far, by metrics.jsonl; 0 where no epoch was evaluated.
int64_t best_epoch(const RunRecord& run) {
  int64_t epoch = 0;
  double best = -1.0;
  for (const Json& line : run.history) {
    const Json auroc = value_at(line, "/val/macro/auroc");
    const double value = auroc.is_number() ? auroc.get<double>() : -1.0;
    if (epoch == 0 ? line.contains("val") : value > best) {
      epoch = line.value("epoch", int64_t{0});
      best = value;
    }
  }
  return epoch;
}

// A run that was cut off has fitted nothing to the validation part, and its best checkpoint so far counts.
bool was_interrupted(const RunRecord& run) {
  return run.folds.empty() && !run.history.empty() && run.preprocessing.is_object() &&
         run.preprocessing.value("weights", "").empty();
}

Fitted checkpoint_of(const RunRecord& run) {
  std::string kept = run.preprocessing.is_object() ? run.preprocessing.value("weights", "") : "";
  if (was_interrupted(run) && best_epoch(run) > 0 && setting_of(run, "train.select") == "best") kept = "best";
  if (setting_of(run, "train.epochs") == "0") return {"the start", "nothing", ""};
  const std::string rows = rows_text(run, "val", "validation");
  if (kept == "best" && !rows.empty()) {
    const int64_t epoch = best_epoch(run);
    const std::string which = epoch > 0 ? fmt::format(" (epoch {})", epoch) : "";
    return {"the epoch of the best macro AUROC" + which, rows, ""};
  }
  std::string note = rows.empty() ? "the validation part is empty" : "train.select is last";
  return {"the last epoch", "nothing", note};
}

// Columns of a guard list that are inputs all the same.
std::vector<std::string> inputs_of(const RunRecord& run, const std::string& key) {
  std::set<std::string> columns;
  for (const Json& column : value_at(run.preprocessing, "/table/columns"))
    columns.insert(column.value("name", ""));
  std::vector<std::string> found;
  for (const Json& name : value_at(run.settings, "/" + key)) {
    if (columns.contains(name.get<std::string>())) found.push_back(html_escape(name.get<std::string>()));
  }
  return found;
}

std::vector<std::string> guard_list(const RunRecord& run, const std::string& key) {
  std::vector<std::string> all;
  for (const FoldRecord& fold : fits_of(run)) {
    for (const Json& line : value_at(fold.data, "/guard/" + key)) {
      const auto text = line.get<std::string>();
      if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(text);
    }
  }
  return all;
}

bool allows(const RunRecord& run, const char* word) {
  const auto allowed = guard_list(run, "allowed");
  return std::find(allowed.begin(), allowed.end(), word) != allowed.end();
}

// "train and test share 39 patients", those that do share.
std::vector<std::string> overlaps(const RunRecord& run) {
  std::vector<std::string> texts;
  for (const FoldRecord& fold : fits_of(run)) {
    const Json shared = value_at(fold.data, "/shared_patients");
    for (const auto& [parts, count] : shared.items()) {
      if (count.get<int64_t>() == 0) continue;
      texts.push_back(fmt::format(
          "{}{} share {} patient{}", fold.name.empty() ? "" : "in " + html_escape(fold.name) + " ",
          html_escape(parts), count.get<int64_t>(), count.get<int64_t>() == 1 ? "" : "s"));
    }
  }
  return texts;
}

std::string escaped_list(const std::vector<std::string>& texts) {
  std::vector<std::string> items;
  for (const std::string& text : texts) items.push_back(html_escape(text));
  return list_html(items);
}

// A list to be noticed; empty where it is.
std::string box(const char* title, const std::vector<std::string>& items, const std::string& list) {
  if (items.empty()) return "";
  return "<div class=\"warning\"><b>" + std::string(title) + "</b>\n" + list + "</div>\n";
}

}  // namespace

FittedParts fitted_parts(const RunRecord& run) {
  FittedParts parts;
  parts.preprocessing = preprocessing_of(run);
  parts.weights = weights_of(run);
  parts.checkpoint = checkpoint_of(run);
  parts.calibration = on_validation(run, setting_text(run, "calibration.method"), fitted_calibration(run));
  parts.thresholds =
      on_validation(run, setting_of(run, "train.threshold") == "f1" ? "the highest F1" : "Youden's J",
                    fitted_thresholds(run));
  const std::string risk = setting_of(run, "risk.method");
  if (setting_of(run, "model.output") == "softmax") {  // nothing to fit but a temperature
    if (setting_of(run, "calibration.method") != "none")
      parts.calibration =
          on_validation(run, "one temperature for the logits of all labels", fitted_calibration(run));
    parts.thresholds = {"none, the most probable label is predicted", "nothing", ""};
    parts.risk = {"no levels, the most probable label is predicted", "nothing", ""};
  } else if (risk == "cutoffs") {
    parts.risk = {fmt::format("set beforehand: low below {}, high from {} on", setting_text(run, "risk.low"),
                              setting_text(run, "risk.high")),
                  "nothing", ""};
  } else {
    parts.risk =
        on_validation(run,
                      fmt::format("sensitivity of at least {}, PPV of at least {}",
                                  setting_text(run, "risk.sensitivity"), setting_text(run, "risk.ppv")),
                      fitted_risk(run));
  }
  return parts;
}

std::string fitted_sentence(const std::string& what, const Fitted& fitted) {
  std::string text = what + ": " + fitted.how;
  if (fitted.on != "nothing") text += ", fitted to " + fitted.on;
  return text + (fitted.note.empty() ? "." : " (" + fitted.note + ").");
}

Html fitted_table(const RunRecord& run) {
  const FittedParts parts = fitted_parts(run);
  HtmlTable table({"fitted", "how", "on", "not fitted, and why"},
                  "What was fitted, and on how many rows; nothing else was");
  for (const auto& [name, fitted] :
       {std::pair{"preprocessing", parts.preprocessing}, std::pair{"weights", parts.weights},
        std::pair{"checkpoint", parts.checkpoint}, std::pair{"calibration", parts.calibration},
        std::pair{"thresholds", parts.thresholds}, std::pair{"risk levels", parts.risk}}) {
    table.row({name, wide_cell(fitted.how), wide_cell(fitted.on), wide_cell(fitted.note)});
  }
  return table.html("fitted");
}

std::vector<std::string> accepted_leaks(const RunRecord& run) {
  std::vector<std::string> leaks;
  const auto shared = overlaps(run);
  if (!shared.empty()) {
    leaks.push_back(list_text(shared) +
                    (allows(run, "patient") ? ": accepted by guard.allow" : ": the guard did not run") +
                    ". Figures of a part that shares patients with training are too good");
  }
  if (setting_is_on(run, "resample.before_split")) {
    leaks.emplace_back(
        "All rows were resampled before the split: accepted by guard.allow. Test rows are mixtures or copies "
        "of training rows: <b>the figures of the test part are wrong</b>");
  }
  const auto columns_of = [&](const char* key) {
    const auto names = inputs_of(run, key);
    return names.empty() ? std::string() : " (" + list_text(names) + ")";
  };
  if (allows(run, "target")) {
    leaks.push_back("An outcome, or a column that repeats a label, may be an input" +
                    columns_of("guard.targets") + ": accepted by guard.allow");
  }
  if (allows(run, "leaking") && !inputs_of(run, "guard.leaking").empty()) {
    leaks.push_back("A column listed as leaking is an input" + columns_of("guard.leaking") +
                    ": accepted by guard.allow");
  }
  if (allows(run, "duplicate")) {
    leaks.emplace_back(
        "Rows that repeat others may lie in two parts: accepted by guard.allow; data.json does not say how "
        "many do");
  }
  return leaks;
}

std::string warning_box(const RunRecord& run) {
  std::vector<std::string> lines = accepted_leaks(run);
  const Json split = value_at(run.evaluation, "/split");
  if (split == "train")
    lines.emplace_back("Evaluated on the training part: the figures say nothing about new patients");
  if (split == "val") {
    lines.emplace_back(
        "Evaluated on the validation part, on which checkpoint, calibration and thresholds were chosen: the "
        "figures are too optimistic");
  }
  if (was_interrupted(run)) {
    lines.push_back(fmt::format(
        "Training was interrupted after epoch {} of {}: calibration, thresholds and risk "
        "levels were not fitted. {}",
        run.history.back().value("epoch", int64_t{0}), html_escape(setting_of(run, "train.epochs")),
        fitted_sentence("Checkpoint", checkpoint_of(run))));
  }
  const auto suspicious = guard_list(run, "warnings");
  if (!suspicious.empty()) {
    lines.push_back(fmt::format(
        "In {} case{} a column of the table alone tells a label at an AUROC above 0.80 on training rows: see "
        "<a href=\"#data\">Data flow</a>",
        suspicious.size(), suspicious.size() == 1 ? "" : "s"));
  }
  return box("Before the figures are used", lines, list_html(lines));
}

std::string guard_html(const RunRecord& run) {
  const auto leaks = accepted_leaks(run);
  std::string html = box("Accepted leaks", leaks, list_html(leaks));
  std::vector<std::string> silent;
  const auto allowed = guard_list(run, "allowed");
  for (const std::string& word : allowed) {
    const bool happened = (word == "patient" && !overlaps(run).empty()) ||
                          (word == "resampling" && setting_is_on(run, "resample.before_split")) ||
                          (word == "leaking" && !inputs_of(run, "guard.leaking").empty()) ||
                          word == "target" || word == "duplicate";
    if (!happened) silent.push_back(html_escape(word));
  }
  if (!silent.empty())
    html += "<p>guard.allow also names " + list_text(silent) + ", of which there was none.</p>\n";
  if (allowed.empty()) {
    html +=
        "<p>Training refuses to start where a patient, or a row and its repeat, lie in two parts, where an "
        "outcome is an input, and where rows were resampled before the split. Nothing was excepted "
        "(guard.allow is empty).</p>\n";
  }
  const auto notes = guard_list(run, "notes"), suspicious = guard_list(run, "warnings");
  if (!notes.empty()) html += "<p>Notes on reading the data:</p>\n" + escaped_list(notes);
  return html + box("Columns to look at", suspicious, escaped_list(suspicious));
}

std::string empty_selection_note(const RunRecord& run) {
  if (!run.folds.empty()) return "";  // each fold selects its own
  if (setting_of(run, "features.mode") != "top_n" || !run.features.is_object() ||
      !run.features.contains("labels"))
    return "";
  std::vector<std::string> other;
  if (reads_images(run)) other.emplace_back("the image");
  if (reads_text(run)) other.emplace_back("the text");
  std::vector<std::string> blind, seeing;
  for (const auto& [name, label] : run.features["labels"].items()) {
    if (!label.value("selected", Json::array()).empty()) continue;
    double auroc = 0.0;
    if (run.evaluation.is_object() && run.evaluation.at("labels").contains(name)) {
      const Json& value = run.evaluation["labels"][name].at("measures").at("auroc").at("value");
      auroc = value.is_number() ? value.get<double>() : 0.0;
    }
    (other.empty() && auroc == 0.5 ? blind : seeing).push_back(html_escape(name));
  }
  std::string html;
  if (!blind.empty()) {
    html += "<p class=\"note\">" + list_text(blind) + ": AUROC 0.5 because the network has no input for " +
            (blind.size() == 1 ? "it" : "them") +
            ": stage one selected no feature, and the run reads neither image nor text. Every row gets the "
            "same probability.</p>\n";
  }
  if (!seeing.empty()) {
    other.emplace_back("the other labels");
    html += "<p class=\"note\">" + list_text(seeing) +
            ": stage one selected no feature; the network predicts " + (seeing.size() == 1 ? "it" : "them") +
            " from " + list_text(other) + " alone.</p>\n";
  }
  return html;
}

}  // namespace medfusion::tools
