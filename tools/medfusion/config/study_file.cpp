#include "tools/medfusion/config/study_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include "core/nearest.h"
#include "tools/evaluation/measures/measures.h"
#include "tools/medfusion/config/ready_configs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/config/toml.h"

namespace medfusion::tools {

void StudyOptions::visit_fields(core::FieldVisitor& visit) {
  using core::Range;
  visit("reference", reference, "The model that the others are compared with.");
  visit("folds", folds, Range::in(0, 9999),
        "Folds to draw by patient, the same for all models; 0 takes `data.folds` of each configuration.");
  visit("seeds", seeds, Range::at_least(0), "Each model is trained with each of these seeds.");
  visit("measure", measure, Range::one_of({kMeasureNames.begin(), kMeasureNames.end()}),
        "The primary measure, as macro average: the search, the ranks and the wins go by it.");
  visit("trials", trials, Range::in(0, 10000),
        "Draws of [search] for each model and fold; draw 0 is the configuration as it is. 0: no search.");
  visit("inner_fraction", inner_fraction, Range::above_to(0, 0.5),
        "Share of a fold's training part that scores the draws, by patient.");
  visit("resamples", resamples, Range::in(0, 1000000), "Resamples of the patients for the intervals.");
  visit("seed", seed, Range::at_least(0), "Seed of the folds, the draws and the resamples.");
}

namespace {

class StudyReader : public SettingsReader {
 public:
  explicit StudyReader(StudyOptions& options) : options_(options) {}

 private:
  std::vector<core::Field> fields() override {
    core::FieldVisitor visit;
    visit.section("study", options_);
    return std::move(visit).fields();
  }
  StudyOptions& options_;
};

// What decides on rows, labels, folds or seeds: the study's business, the same for all models.
constexpr std::array kShared{"seed",
                             "threads",
                             "data.format",
                             "data.root",
                             "data.file",
                             "data.labels",
                             "data.labels_file",
                             "data.label_count",
                             "data.class_column",
                             "data.exclusive",
                             "data.patient_column",
                             "data.min_positives",
                             "data.on_error",
                             "data.shuffle_labels",
                             "data.split",
                             "data.split_file",
                             "data.folds",
                             "data.fold"};

// One study file as TOML.
class StudyToml {
 public:
  explicit StudyToml(const std::string& file) : file_(file), root_(parse_toml(read_file(file), file)) {}

  Study read() const {
    check_keys(root_, "", {"study", "data", "models", "search"});
    Study study;
    study.file = file_;
    if (root_.contains("study")) {
      StudyReader reader(study.options);
      for (const auto& each : flat(section(root_, "study"), "study"))
        reader.set(each.key, each.value, each.place);
    }
    for (const auto& [key, table] : in_order("data"))
      study.data.push_back(read_data(name_of(*key, "data"), *table));
    for (const auto& [key, table] : in_order("models"))
      study.models.push_back(read_model(name_of(*key, "models"), *table));
    if (root_.contains("search")) {
      for (const auto& [key, node] : section(root_, "search"))
        add_ranges(std::string(key.str()), node, study.search);
    }
    return study;
  }

  core::Place place_of_section(const char* name) const {
    const toml::node* node = root_.get(name);
    return node == nullptr ? core::Place{file_} : place_of(node->source(), file_);
  }

 private:
  [[noreturn]] void reject(const toml::node& node, const std::string& message) const {
    core::throw_input_error(place_of(node.source(), file_), message);
  }

  void check_keys(const toml::table& table, const std::string& prefix,
                  const std::vector<std::string>& known) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      core::throw_input_error(place_of(key.source(), file_), "unknown key {}{}{}", prefix, one_line_of(name),
                              core::did_you_mean(name, known));
    }
  }

  const toml::table& table_of(const toml::node& node, const std::string& name) const {
    if (!node.is_table()) reject(node, fmt::format("{}: expected a table, got {}", name, shown_toml(node)));
    return *node.as_table();
  }

  const toml::table& section(const toml::table& table, const char* name) const {
    const toml::node* node = table.get(name);
    if (node == nullptr) core::throw_input_error({file_}, "expected a section [{}], there is none", name);
    return table_of(*node, name);
  }

  // The tables of a section as the file has them; toml++ sorts them by name.
  std::vector<std::pair<const toml::key*, const toml::table*>> in_order(const char* name) const {
    std::vector<std::pair<const toml::key*, const toml::table*>> result;
    for (const auto& [key, node] : section(root_, name)) result.emplace_back(&key, &table_of(node, name));
    std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
      return a.first->source().begin.line < b.first->source().begin.line;
    });
    return result;
  }

  // Of data or a model: names a folder.
  std::string name_of(const toml::key& key, const char* section) const {
    const std::string name(key.str());
    const bool plain = !name.empty() && name.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"
                                            "QRSTUVWXYZ0123456789_-") == std::string::npos;
    if (!plain) {
      core::throw_input_error(place_of(key.source(), file_),
                              "{}: expected a name of letters, digits, '_' and '-', got '{}'", section,
                              one_line_of(name));
    }
    return name;
  }

  std::string text_of(const toml::table& table, const std::string& section, const char* key,
                      bool required) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) {
      if (!required) return "";
      core::throw_input_error(place_of(table.source(), file_), "{}: expected {}, it is missing", section,
                              key);
    }
    if (!node->is_string())
      reject(*node, fmt::format("{}.{}: expected text, got {}", section, key, shown_toml(*node)));
    return *node->value<std::string>();
  }

  std::string place_text(const toml::source_region& source) const {
    const core::Place place = place_of(source, file_);
    return fmt::format("{}:{}:{}", place.file, place.line, place.column);
  }

  // As TOML, numbers with no more digits than they need.
  static std::string as_text(const toml::node& node) {
    if (const auto* number = node.as_floating_point()) return fmt::format("{:#}", number->get());
    std::ostringstream text;
    node.visit([&](const auto& value) { text << value; });
    return text.str();
  }

  // Every value of a table and of the tables in it: {"a.b" = 1} and {a.b = 1} are the same.
  std::vector<StudySetting> flat(const toml::table& table, const std::string& prefix = "") const {
    std::vector<StudySetting> result;
    for (const auto& [key, node] : table) {
      const std::string name = (prefix.empty() ? "" : prefix + ".") + std::string(key.str());
      if (const toml::table* inner = node.as_table()) {
        for (auto& each : flat(*inner, name)) result.push_back(std::move(each));
      } else {
        result.push_back({name, as_text(node), place_text(node.source())});
      }
    }
    return result;
  }

  std::vector<StudySetting> settings_of(const toml::table& table, const std::string& section) const {
    const toml::node* node = table.get("set");
    return node == nullptr ? std::vector<StudySetting>() : flat(table_of(*node, section + ".set"));
  }

  StudyData read_data(const std::string& name, const toml::table& table) const {
    const std::string section = "data." + name;
    check_keys(table, section + ".", {"config", "set"});
    return {name, config_file(text_of(table, section, "config", true), *table.get("config")),
            settings_of(table, section)};
  }

  // Beside the study, or as on the command line.
  std::string config_file(const std::string& given, const toml::node& node) const {
    const auto beside = std::filesystem::path(file_).parent_path() / given;
    if (std::filesystem::is_regular_file(beside)) return beside.string();
    std::string found;
    try {
      found = find_config(given);
    } catch (const core::InputError& error) {
      reject(node, error.what());
    }
    if (!std::filesystem::exists(found))
      reject(node, fmt::format("expected a configuration, there is no file '{}'", one_line_of(found)));
    return found;
  }

  StudyModel read_model(const std::string& name, const toml::table& table) const {
    const std::string section = "models." + name;
    check_keys(table, section + ".", {"init", "set"});
    StudyModel model{name, text_of(table, section, "init", false), settings_of(table, section)};
    for (const StudySetting& each : model.settings) refuse_shared(each.key, each.place);
    if (!model.init.empty() && !std::filesystem::exists(model.init))
      reject(*table.get("init"),
             fmt::format("expected a file of weights, there is no file '{}'", one_line_of(model.init)));
    return model;
  }

  static void refuse_shared(const std::string& key, const std::string& place) {
    if (std::find(kShared.begin(), kShared.end(), key) == kShared.end()) return;
    core::throw_input_error({place},
                            "{}: all models of a study share it; expected it in the configuration, "
                            "in [data.NAME] or in [study]",
                            key);
  }

  // "a.b" = {...}, or the same with the key in parts.
  void add_ranges(const std::string& key, const toml::node& node, std::vector<SearchRange>& ranges) const {
    const toml::table& table = table_of(node, "search: " + key);
    const bool is_range = table.contains("log") || table.contains("uniform") || table.contains("choices");
    const bool has_tables =
        std::all_of(table.begin(), table.end(), [](const auto& each) { return each.second.is_table(); });
    if (!is_range && has_tables && !table.empty()) {
      for (const auto& [inner, each] : table) add_ranges(key + "." + std::string(inner.str()), each, ranges);
      return;
    }
    check_keys(table, "search: " + key + ": ", {"log", "uniform", "choices"});
    if (table.size() != 1)
      reject(node, fmt::format("search: {}: expected one of log, uniform and choices", key));
    const toml::node& range = table.begin()->second;
    ranges.push_back(read_range(key, std::string(table.begin()->first.str()), range));
    refuse_shared(key, ranges.back().place);
  }

  SearchRange read_range(const std::string& key, const std::string& kind, const toml::node& node) const {
    const toml::array* list = node.as_array();
    SearchRange range{key, place_text(node.source())};
    if (kind == "choices") {
      if (list == nullptr || list->empty())
        reject(node, fmt::format("search: {}: choices: expected a list of values, got {}", key,
                                 list == nullptr ? shown_toml(node) : "none"));
      for (const toml::node& each : *list) range.choices.push_back(as_text(each));
      return range;
    }
    range.log = kind == "log";
    const bool two =
        list != nullptr && list->size() == 2 && list->get(0)->is_number() && list->get(1)->is_number();
    if (two) {
      range.low = *list->get(0)->value<double>(), range.high = *list->get(1)->value<double>();
      range.whole = list->get(0)->is_integer() && list->get(1)->is_integer();
    }
    if (!two || !(range.low < range.high) || !std::isfinite(range.low) || !std::isfinite(range.high) ||
        (range.log && range.low <= 0.0)) {
      reject(node, fmt::format("search: {}: {}: expected [low, high], low below high{}", key, kind,
                               range.log ? " and above 0" : ""));
    }
    return range;
  }

  std::string file_;
  toml::table root_;
};

// Every model on every data, and every end of what is searched, must be a configuration.
void check_configs(const Study& study) {
  for (const StudyData& data : study.data) {
    for (const StudyModel& model : study.models) study_config(study, data, model);
  }
  for (const SearchRange& range : study.search) {
    std::vector<std::string> values = range.choices;
    if (values.empty()) values = {range.draw(0.0), range.draw(std::nextafter(1.0, 0.0))};
    for (const std::string& value : values) ConfigBuilder().set(range.key, value, range.place);
  }
}

}  // namespace

std::string SearchRange::draw(double uniform) const {
  if (!choices.empty()) {
    const auto count = static_cast<double>(choices.size());
    return choices[static_cast<size_t>(std::min(uniform * count, count - 1.0))];
  }
  const double top = whole ? high + 1.0 : high;  // every whole number has the same room
  const double value =
      log ? std::exp(std::log(low) + uniform * (std::log(top) - std::log(low))) : low + uniform * (top - low);
  const double within = std::clamp(whole ? std::floor(value) : value, low, high);
  if (whole) return fmt::format("{}", static_cast<int64_t>(within));
  return fmt::format("{:#.6g}", within);
}

size_t Study::reference() const {
  const auto found = std::find_if(models.begin(), models.end(),
                                  [&](const StudyModel& model) { return model.name == options.reference; });
  return static_cast<size_t>(found - models.begin());
}

Study read_study(const std::string& file) {
  const auto parsed = [&] {
    try {
      return StudyToml(file);
    } catch (const toml::parse_error& error) {
      core::throw_input_error(place_of(error.source(), file), one_line_of(error.description()));
    }
  }();
  Study study = parsed.read();
  if (study.models.size() < 2) {
    core::throw_input_error(parsed.place_of_section("models"), "expected at least two models, got {}",
                            study.models.size());
  }
  if (study.data.empty())
    core::throw_input_error(parsed.place_of_section("data"), "expected at least one [data.NAME], got none");
  std::vector<std::string> names;
  for (const StudyModel& model : study.models) names.push_back(model.name);
  if (study.reference() == study.models.size()) {
    core::throw_input_error(
        parsed.place_of_section("study"), "study.reference: expected the name of a model, got '{}'{}",
        one_line_of(study.options.reference), core::did_you_mean(study.options.reference, names));
  }
  const std::set<int64_t> seeds(study.options.seeds.begin(), study.options.seeds.end());
  if (seeds.empty() || seeds.size() != study.options.seeds.size())
    core::throw_input_error(parsed.place_of_section("study"), "study.seeds: expected seeds, each once");
  if (study.options.folds == 1)
    core::throw_input_error(parsed.place_of_section("study"), "study.folds: expected 0 or at least 2, got 1");
  if (study.options.trials > 0 && study.search.empty())
    core::throw_input_error(parsed.place_of_section("study"),
                            "study.trials: expected a section [search] that says what is drawn");
  check_configs(study);
  return study;
}

Config study_config(const Study& study, const StudyData& data, const StudyModel& model,
                    const std::vector<StudySetting>& more) {
  ConfigBuilder builder;
  builder.read_file(data.config);
  builder.set("data.split", "folds", "study");
  if (study.options.folds > 0) builder.set("data.folds", std::to_string(study.options.folds), "study.folds");
  for (const auto* settings : {&data.settings, &model.settings, &more})
    for (const StudySetting& each : *settings) builder.set(each.key, each.value, each.place);
  return builder.build();
}

}  // namespace medfusion::tools
