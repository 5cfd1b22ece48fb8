// Section of the report: what a publication must state, after TRIPOD+AI (Collins et al., BMJ
// 2024;385:e078378) and CLAIM (Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2020;2:e200029), in
// our own words, with their numbers.
#include <fmt/format.h>

#include <algorithm>

#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// What only a person can answer.
std::string open_item(const std::string& question) {
  return "<span class=\"open\">for a person to answer:</span> " + question;
}

std::string part_rows(const RunRecord& run, const char* part) {
  const Json entry = run.data.at("parts").value(part, Json::object());
  std::string text = fmt::format("{}", entry.value("rows", int64_t{0}));
  if (entry.contains("patients")) text += fmt::format(" (of {} patients)", entry["patients"].get<int64_t>());
  return text;
}

std::string size_item(const RunRecord& run) {
  const std::string rows =
      run.folds.empty()
          ? fmt::format("{} {} for training, {} for validation, {} for test", part_rows(run, "train"),
                        samples_word(run), part_rows(run, "val"), part_rows(run, "test"))
          : fmt::format("{} rows in {} folds, in <a href=\"#data\">Data flow</a>",
                        count_text(run.data.value("rows", Json())),
                        count_text(run.cross_validation.value("folds", Json())));
  return rows + "; nothing was computed beforehand on how many are needed";
}

std::string outcome_item(const RunRecord& run) {
  std::string names;
  for (const auto& [name, count] : run.data.at("train_positives").items()) {
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", html_escape(name), count.get<int64_t>());
  }
  return names + ", in brackets the positives of the training part" +
         (run.folds.empty() ? ". " : " of the first fold. ") +
         open_item("who set the labels, how, and how often they are wrong");
}

// The names of the table's columns, with the categories of those that have some.
std::string columns_text(const RunRecord& run) {
  std::string text;
  for (const Json& column : run.preprocessing["table"].at("columns")) {
    text += (text.empty() ? "" : ", ") + html_escape(column.at("name").get<std::string>());
    if (!column.contains("categories")) continue;
    std::vector<std::string> names;
    for (const Json& category : column["categories"]) {
      names.push_back(html_escape(category.is_string() ? category.get<std::string>() : category.dump()));
    }
    if (names.size() <= 4) text += " (" + list_text(names) + ")";
  }
  return text;
}

std::string predictors_item(const RunRecord& run) {
  std::string text;
  if (reads_images(run)) text += "the image, " + setting_text(run, "data.image_size") + " pixels wide; ";
  if (reads_table(run)) {
    text += fmt::format("{} columns of the table: {}; ", run.preprocessing["table"].at("columns").size(),
                        columns_text(run));
    if (setting_of(run, "features.mode") == "top_n") text += "of these what stage one selected per label; ";
  }
  if (reads_text(run)) text += "the text; ";
  return text + open_item("whether each is known at the time of the decision");
}

std::string missing_item(const RunRecord& run) {
  if (!reads_table(run)) return "unknown labels are left out of loss and metrics; the run reads no table";
  const bool median = setting_of(run, "features.impute") == "median";
  return fmt::format(
      "table: a missing cell is marked to the network as missing and read as {}, fitted to the training rows "
      "(preprocessing.json); unknown labels are left out of loss and metrics",
      median ? "the median, or the most frequent category" : "the mean");
}

std::string preparation_item(const RunRecord& run) {
  std::vector<std::string> parts;
  if (reads_images(run)) {
    parts.push_back("images: docs/image-pipeline.md, resized to " + setting_text(run, "data.image_size") +
                    " pixels, normalized by data.normalize = " + setting_text(run, "data.normalize"));
  }
  if (reads_table(run))
    parts.emplace_back("table: docs/features.md, numbers brought to mean 0 and deviation 1");
  if (reads_text(run)) parts.emplace_back("text: the words that occur in training");
  return list_text(parts) + "; the values are in <a href=\"#settings\">Settings</a>";
}

std::string disjoint_item(const RunRecord& run) {
  const auto leaks = accepted_leaks(run);
  if (leaks.empty()) return "patient: no patient is in two parts, in <a href=\"#data\">Data flow</a>";
  std::string text;
  for (const std::string& leak : leaks) text += (text.empty() ? "" : ". ") + leak;
  return text;
}

std::string split_item(const RunRecord& run) {
  std::string text = "data.split = " + setting_text(run, "data.split");
  if (!run.folds.empty())
    text += fmt::format(", {} folds", count_text(run.cross_validation.value("folds", Json())));
  return text + ", validation share of the training rows " + setting_text(run, "data.val_fraction") +
         ", seed " + setting_text(run, "seed") + ", in <a href=\"#data\">Data flow</a>";
}

std::string imbalance_item(const RunRecord& run) {
  std::string text = "loss " + setting_text(run, "train.loss") + ", weight of positives (train.pos_weight) " +
                     setting_text(run, "train.pos_weight") + ", resampling (resample.method) " +
                     setting_text(run, "resample.method");
  if (setting_of(run, "resample.method") != "none") {
    text += " to " + setting_text(run, "resample.ratio") + " rows of the rarer class per row of the other, " +
            (setting_is_on(run, "resample.before_split") ? "<b>before the split, which is a mistake</b>"
                                                         : "in the training part alone");
  }
  return text + ". " + fitted_sentence("Calibration afterwards", fitted_parts(run).calibration);
}

std::string training_item(const RunRecord& run) {
  return fitted_sentence("Weights", fitted_parts(run).weights) + " Optimizer " +
         setting_text(run, "train.optimizer") + ", learning rate " +
         setting_text(run, "train.learning_rate") + ", batches of " + setting_text(run, "train.batch_size") +
         ", loss " + setting_text(run, "train.loss") + ", seed " + setting_text(run, "seed") + ". " +
         open_item("how many configurations were tried");
}

std::string performance_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated: <code>medfusion eval RUN</code>";
  const Json& macro = run.evaluation.at("macro");
  return fmt::format(
      "{}, macro AUROC {}, macro ECE {}; per label in <a href=\"#performance\">Performance</a>",
      part_name(run.evaluation), interval_text(macro.at("auroc")), interval_text(macro.at("ece")));
}

std::string uncertainty_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated";
  return fmt::format(
      "percentile intervals from {} resamples of {} patients; those of calibration intercept and slope by a "
      "covariance robust to dependence within a patient",
      run.evaluation.at("resamples").get<int64_t>(), run.evaluation.at("patients").get<int64_t>());
}

std::string fairness_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated";
  if (run.evaluation.at("subgroups").empty())
    return "the data has no column to group by. " + open_item("how groups of patients fare");
  std::vector<std::string> columns;
  for (const Json& grouping : run.evaluation["subgroups"])
    columns.push_back(html_escape(grouping.at("column").get<std::string>()));
  return "by " + list_text(columns) + ", in <a href=\"#subgroups\">Subgroups</a>. " +
         open_item("which differences matter, and what was done about them");
}

std::string controls_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated";
  std::vector<std::string> names;
  for (const Json& control : run.evaluation.value("controls", Json::array()))
    names.push_back(control_name(control));
  return (names.empty() ? "no controls" : "controls: " + list_text(names)) +
         "; subgroups above. Other scanners, noise and shifts were not tried";
}

std::string explanation_item(const RunRecord& run) {
  if (run.explanation.is_null()) return "not made: <code>medfusion explain RUN --split test</code>";
  return "maps, attention and contributions of modalities as far as the run has them, in <a "
         "href=\"#attention\">Attention</a> and <a href=\"#examples\">Examples</a>; where there are boxes, "
         "how "
         "often the maps point at them";
}

std::string output_item(const RunRecord& run) {
  const FittedParts fitted = fitted_parts(run);
  return "a probability per label. " + fitted_sentence("Decision thresholds", fitted.thresholds) + " " +
         fitted_sentence("Risk levels", fitted.risk);
}

std::string data_item(const RunRecord& run) {
  return "dataset " + html_escape(run.data.value("dataset", "?")) + ", " +
         count_text(run.data.value("rows", Json())) + " rows, hash " +
         html_escape(run.data.value("data_hash", "?")) + ". " +
         open_item("where and when it was collected, and for what");
}

std::string model_item(const RunRecord& run) {
  return setting_text(run, "model.name") + ", size " + setting_text(run, "model.size") + ", output " +
         setting_text(run, "model.output") +
         " (docs/medfusionnet.md); all keys in <a href=\"#settings\">Settings</a>";
}

std::string demographics_item(const RunRecord& run) {
  if (run.evaluation.is_null() || run.evaluation.at("subgroups").empty())
    return open_item("age, sex and severity in each part");
  return "counts of the evaluated rows in <a href=\"#subgroups\">Subgroups</a>. " +
         open_item("the same of the other parts");
}

// The items in the order of TRIPOD+AI's and CLAIM's sections.
class Checklist {
 public:
  explicit Checklist(const RunRecord& run) : run_(run) {
    add_study_and_data();
    add_model();
    add_context();
    add_results();
  }
  Html html() const { return table_.html("items"); }

 private:
  void add(const std::string& item, const char* tripod, const char* claim, const std::string& answer) {
    table_.row({wide_cell(item), tripod, claim, wide_cell(answer)});
  }

  void add_study_and_data() {
    add("Title: prediction model, method, target", "1", "1", open_item("the title of the publication"));
    add("Abstract", "2", "2",
        open_item("a structured one; its figures are in <a href=\"#summary\">Summary</a>"));
    add("Background, intended use and users", "3", "3",
        open_item("the decision it is to help, by whom, for whom"));
    add("Objectives and hypotheses", "4", "4", open_item("state them; development, evaluation or both"));
    add("Prospective or retrospective", "", "5", open_item("state it"));
    add("Study goal", "", "6", open_item("feasibility, development, comparison or other"));
    add("Data and their sources", "5", "7", data_item(run_));
    add("Participants, eligibility, places, dates", "6", "8", open_item("who was included and who was not"));
    add("Data preparation", "7", "9", preparation_item(run_));
    add("Selection of subsets of the data", "", "10",
        "labels: " +
            (setting_of(run_, "data.labels").size() > 2 ? setting_text(run_, "data.labels")
                                                        : "all there are") +
            "; least positives (data.min_positives) " + setting_text(run_, "data.min_positives") +
            "; columns left out (data.exclude) " + setting_text(run_, "data.exclude"));
    add("Definitions of data elements", "", "11",
        "names of labels and columns are those of the data, below. " + open_item("what each of them means"));
    add("De-identification", "", "12", open_item("how, and by whom"));
    add("Outcome, ground truth", "8", "14", outcome_item(run_));
    add("Rationale of the reference standard", "", "15", open_item("why this one, and its flaws"));
    add("Annotations: source, tools, variability of raters", "", "16, 17, 18",
        open_item("who annotated with what, and how far they agree"));
    add("Predictors", "9", "", predictors_item(run_));
    add("Sample size", "10", "19", size_item(run_));
    add("Missing data", "11", "13", missing_item(run_));
    add("Analytical methods, partitions", "12", "20", split_item(run_));
    add("Level at which the parts are disjoint", "", "21", disjoint_item(run_));
  }

  void add_model() {
    add("Model", "", "22", model_item(run_));
    add("Software", "", "23", "MedFusion " + html_escape(run_.data.value("version", "?")) + ", C++20");
    add("Initialization of the weights", "", "24",
        "random, by seed " + setting_text(run_, "seed") +
            ", or the file of --init, which train.log then names");
    add("Training", "12", "25", training_item(run_));
    add("Selection of the final model", "12", "26",
        fitted_sentence("Checkpoint", fitted_parts(run_).checkpoint));
    add("Ensembling", "12", "27",
        run_.folds.empty() ? "none: one network" : "none: each row is predicted by the network of its fold");
    add("Class imbalance", "13", "", imbalance_item(run_));
    add("Fairness", "14", "", fairness_item(run_));
    add("Model output", "15", "", output_item(run_));
  }

  void add_context() {
    add("Training versus evaluation", "16", "",
        "both are parts of the same data. " +
            open_item("how they differ in setting, eligibility and outcome"));
    add("Ethical approval", "17", "", open_item("which committee, and consent"));
    add("Open science: funding, conflicts of interest, protocol, registration, data, code", "18",
        "40, 41, 42",
        "code: Apache-2.0; the run directory holds configuration, seed, data hash and weights. " +
            open_item(
                "registration, protocol, funding, conflicts of interest, and where data and weights are"));
    add("Patients and public involved", "19", "", open_item("how, or that they were not"));
  }

  void add_results() {
    add("Metrics of performance", "12", "28", performance_item(run_));
    add("Statistical measures of uncertainty", "12", "29", uncertainty_item(run_));
    add("Robustness", "12", "30", controls_item(run_));
    add("Explainability", "", "31", explanation_item(run_));
    add("External validation", "", "32",
        open_item("data of another place; <code>medfusion eval RUN --data DIR</code> evaluates there"));
    add("Flow of participants", "20", "33",
        "from the rows that were read on in <a href=\"#data\">Data flow</a>. " +
            open_item("what came before"));
    add("Demographics and clinical characteristics", "20", "34", demographics_item(run_));
    add("Model development: participants and events in each analysis", "21", "",
        "rows and positives of each part in <a href=\"#data\">Data flow</a>");
    add("Model specification", "22", "",
        "config.toml, preprocessing.json and the weights of the run; <code>medfusion predict</code> applies "
        "them");
    add("Model performance, with estimates and their precision", "23", "35, 36", performance_item(run_));
    add("Failure analysis", "", "37",
        run_.explanation.is_null() ? "not made: <code>medfusion explain RUN --split test</code>. " +
                                         open_item("what the errors have in common")
                                   : "misses and false alarms in <a href=\"#examples\">Examples</a>. " +
                                         open_item("what they have in common"));
    add("Model updating", "24", "", "none: thresholds and calibration stay as they were fitted");
    add("Interpretation", "25", "", open_item("in the light of fairness and of other studies"));
    add("Limitations", "26", "38",
        open_item("bias, sample, generality, and what would make the results wrong"));
    add("Usability, implications for practice", "27", "39",
        "a research tool, no medical device. " +
            open_item("how poor input is handled, what users must know"));
  }

  const RunRecord& run_;
  HtmlTable table_{{"item", "TRIPOD+AI", "CLAIM", "answer"}};
};

}  // namespace

Html checklist_section(const RunRecord& run) {
  return "<p>Filled from the run where the run knows; the rest is marked. Numbers are those of the items "
         "of TRIPOD+AI 2024 and of CLAIM 2020.</p>\n" +
         Checklist(run).html();
}

}  // namespace medfusion::tools
