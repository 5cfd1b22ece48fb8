// The report's Table 1: what the rows of each part are like; and which labels lack a class.
#include <fmt/format.h>

#include <algorithm>

#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kCategoriesShown = 10;

// "12 (5.8%)"
std::string share_text(int64_t count, int64_t of) {
  if (of == 0) return "-";
  return fmt::format("{} ({:.1f}%)", count, 100 * static_cast<double>(count) / static_cast<double>(of));
}

// Rows of the table, each a text for every part of the schema.
class TableOne {
 public:
  TableOne(const RunRecord& run, const Json& parts)
      : parts_(parts), table_(head(parts), "Table 1. The parts of the data") {
    add(samples_word(run), [](const Json& part) { return count_text(part.at("rows")); });
    add("patients", [](const Json& part) { return count_text(part.at("patients")); });
    for (const char* role : {"input", "label"}) {
      for (const Json& column : run.schema.at("columns")) {
        const auto name = column.at("name").get<std::string>();
        if (column.at("role") != role) continue;
        if (std::string(role) == "label") {
          add_label(name);
        } else if (parts_.begin()->contains("inputs")) {
          add_input(name);
        }
      }
    }
  }
  const HtmlTable& table() const { return table_; }

 private:
  static std::vector<std::string> head(const Json& parts) {
    std::vector<std::string> head{""};
    for (const auto& [name, part] : parts.items())
      head.emplace_back(name == "train" ? "training" : name == "val" ? "validation" : html_escape(name));
    return head;
  }

  template <class Text>
  void add(const std::string& what, Text&& text) {
    std::vector<std::string> row{html_escape(what)};
    for (const auto& [name, part] : parts_.items()) row.push_back(text(part));
    table_.row(std::move(row));
  }

  // A line for what may be missing; none where it is nowhere.
  template <class Count>
  void add_missing(const std::string& what, Count&& count) {
    if (std::any_of(parts_.begin(), parts_.end(), [&](const Json& part) { return count(part) > 0; }))
      add(what, [&](const Json& part) { return share_text(count(part), part.at("rows").get<int64_t>()); });
  }

  void add_label(const std::string& name) {
    add(name + ", positive", [&](const Json& part) {
      const Json& counts = part.at("labels").at(name);
      return share_text(counts.at("positive").get<int64_t>(), counts.at("known").get<int64_t>());
    });
    add_missing(name + ", unknown", [&](const Json& part) {
      return part.at("rows").get<int64_t>() - part.at("labels").at(name).at("known").get<int64_t>();
    });
  }

  void add_input(const std::string& name) {
    const auto input = [&](const Json& part) -> const Json& { return part.at("inputs").at(name); };
    if (input(*parts_.begin()).contains("categories")) {
      add_categories(name);
    } else {
      add(name + ", mean (SD)", [&](const Json& part) {
        return significant_text(input(part).at("mean")) + " (" +
               significant_text(input(part).at("deviation"), 3) + ")";
      });
    }
    add_missing(name + ", missing",
                [&](const Json& part) { return input(part).at("missing").get<int64_t>(); });
  }

  void add_categories(const std::string& name) {
    std::vector<std::string> categories;
    for (const Json& part : parts_) {
      for (const auto& [category, rows] : part.at("inputs").at(name).at("categories").items()) {
        if (std::find(categories.begin(), categories.end(), category) == categories.end())
          categories.push_back(category);
      }
    }
    const auto count = [&](const Json& part, const std::string& category) {
      return part.at("inputs").at(name).at("categories").value(category, int64_t{0});
    };
    const auto known = [&](const Json& part) {
      return part.at("rows").get<int64_t>() - part.at("inputs").at(name).at("missing").get<int64_t>();
    };
    const size_t shown = categories.size() > kCategoriesShown ? kCategoriesShown - 1 : categories.size();
    for (size_t i = 0; i < shown; ++i) {
      add(name + ": " + categories[i],
          [&](const Json& part) { return share_text(count(part, categories[i]), known(part)); });
    }
    if (shown == categories.size()) return;
    add(fmt::format("{}: {} others", name, categories.size() - shown), [&](const Json& part) {
      int64_t rest = known(part);
      for (size_t i = 0; i < shown; ++i) rest -= count(part, categories[i]);
      return share_text(rest, known(part));
    });
  }

  const Json& parts_;
  HtmlTable table_;
};

// Of a label in the training part; nothing where its rows are not known.
std::string absent_in_training(const RunRecord& run, const std::string& label) {
  const Json counts = value_at(run.schema, "/parts/train/labels");
  if (counts.is_object() && counts.contains(label)) {
    const auto known = counts[label].at("known").get<int64_t>(),
               positive = counts[label].at("positive").get<int64_t>();
    if (known == 0) return "no row of it is known in the training part";
    if (positive == 0) return "no row is positive in the training part";
    return positive == known ? "no row is negative in the training part" : "";
  }
  const Json positives = value_at(run.data, "/train_positives");
  const bool none = run.folds.empty() && positives.is_object() && positives.value(label, int64_t{1}) == 0;
  return none ? "no row is positive in the training part" : "";
}

}  // namespace

Html table_one(const RunRecord& run) {
  const Json parts = value_at(run.schema, "/parts");
  if (!parts.is_object() || parts.empty()) return "";
  const TableOne made(run, parts);
  return made.table().html("table-1") + "<p>Shares are of the rows in which the value is known" +
         (run.folds.empty() ? "" : "; the parts are those of the first fold") + ".</p>\n";
}

std::string absent_class(const RunRecord& run, const std::string& label) {
  std::string text = absent_in_training(run, label);
  const Json evaluated = value_at(run.evaluation, "/labels");
  if (!evaluated.is_object() || !evaluated.contains(label)) return text;
  const bool positives = evaluated[label].at("positives") != 0,
             negatives = evaluated[label].at("negatives") != 0;
  if (positives && negatives) return text;
  const std::string what = positives ? "negative" : negatives ? "positive" : "known";
  return text + (text.empty() ? "" : ", and ") + "no evaluated row is " + what;
}

}  // namespace medfusion::tools
