#include "data/leakage.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/nearest.h"
#include "data/readers/csv.h"

namespace medfusion::data {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Whether the column tells the label in every row: two values, each with one value of the label.
bool copies_label(const Dataset& dataset, const Column& column, int64_t label) {
  constexpr int64_t kRows = 20;  // fewer may agree by chance
  const int64_t labels = dataset.targets.size(1);
  std::map<std::string, float> meaning;
  int64_t known = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const float target = dataset.targets.data<float>()[row * labels + label];
    if (std::isnan(target)) continue;
    const auto index = static_cast<size_t>(row);
    if (column.numeric && std::isnan(column.numbers[index])) return false;
    const std::string value =
        column.numeric ? fmt::format("{}", column.numbers[index]) : column.categories[index];
    if (value.empty()) return false;
    if (meaning.emplace(value, target).first->second != target || meaning.size() > 2) return false;
    ++known;
  }
  if (known < kRows || meaning.size() != 2) return false;
  return meaning.begin()->second != meaning.rbegin()->second;
}

std::optional<std::string> copied_label(const Dataset& dataset, const Column& column) {
  for (size_t label = 0; label < dataset.labels.size(); ++label) {
    if (copies_label(dataset, column, static_cast<int64_t>(label))) return dataset.labels[label];
  }
  return std::nullopt;
}

// "guard: WHAT; guard.allow = ["LEAK"] accepts it"
[[noreturn]] void refuse(const LeakRules& rules, const char* leak, const std::string& what) {
  core::throw_input_error({rules.file}, "guard: {}; guard.allow = [\"{}\"] accepts it", what, leak);
}

const char* how_to_leave_out(const Dataset& dataset) {
  return dataset.name == "csv" ? "leave it out with data.exclude" : "name the others in data.table";
}

// A name that no column has guards nothing.
void check_names(const Dataset& dataset, const char* key, const std::vector<std::string>& names,
                 const std::string& file) {
  if (dataset.known_columns.empty()) return;
  for (const std::string& name : names) {
    if (contains(dataset.known_columns, name) || contains(dataset.labels, name)) continue;
    core::throw_input_error({file}, "{}: the data has no column '{}'{}", key, name,
                            core::did_you_mean(name, dataset.known_columns));
  }
}

// 0, 1, 2 for train, val, test; -1 where a row is in none.
std::vector<int> part_of_rows(const Dataset& dataset, const Splits& splits) {
  std::vector<int> parts(static_cast<size_t>(dataset.size()), -1);
  const std::array<const std::vector<int64_t>*, 3> all{&splits.train, &splits.val, &splits.test};
  for (int part = 0; part < 3; ++part) {
    for (const int64_t row : *all[static_cast<size_t>(part)]) parts[static_cast<size_t>(row)] = part;
  }
  return parts;
}

// Two rows of one key that lie in different parts; nothing where there are none.
template <class Key>
std::optional<std::pair<size_t, size_t>> in_two_parts(const std::vector<int>& parts,
                                                      const std::vector<Key>& keys) {
  std::unordered_map<Key, size_t> first;  // of each key, the first row that lies in a part
  for (size_t row = 0; row < parts.size(); ++row) {
    if (parts[row] < 0) continue;
    const size_t earlier = first.emplace(keys[row], row).first->second;
    if (parts[earlier] != parts[row]) return std::pair(earlier, row);
  }
  return std::nullopt;
}

// What the spellings of one patient have in common.
std::string plain_name(std::string_view name) {
  constexpr std::string_view kNoBreakSpace = "\xC2\xA0";
  std::string_view text = trim(name);
  while (text.starts_with(kNoBreakSpace)) text = trim(text.substr(kNoBreakSpace.size()));
  while (text.ends_with(kNoBreakSpace)) text = trim(text.substr(0, text.size() - kNoBreakSpace.size()));
  const size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point), rest = text.substr(std::min(point + 1, text.size()));
  const bool number = !whole.empty() && whole.find_first_not_of("0123456789") == std::string_view::npos &&
                      rest.find_first_not_of('0') == std::string_view::npos;
  if (!number) return lower(text);
  return std::string(whole.substr(std::min(whole.find_first_not_of('0'), whole.size() - 1)));
}

}  // namespace

bool LeakRules::allows(const std::string& leak) const { return contains(allow, leak); }

void check_inputs(const Dataset& dataset, const LeakRules& rules) {
  check_names(dataset, "guard.targets", rules.targets, rules.file);
  check_names(dataset, "guard.leaking", rules.leaking, rules.file);
  for (const Column& column : dataset.columns) {
    if (!rules.allows("target")) {
      const bool label = !dataset.labels_are_words && contains(dataset.labels, column.name);
      if (label || contains(rules.targets, column.name)) {
        refuse(rules, "target",
               fmt::format("column '{}' is a target and must not be an input; {}", column.name,
                           how_to_leave_out(dataset)));
      }
      if (const auto copied = copied_label(dataset, column)) {
        refuse(rules, "target",
               fmt::format(
                   "column '{}' says the same as the label '{}' in every row and must not be an input; {}",
                   column.name, *copied, how_to_leave_out(dataset)));
      }
    }
    if (!rules.allows("leaking") && contains(rules.leaking, column.name)) {
      refuse(rules, "leaking",
             fmt::format("column '{}' is listed in guard.leaking and must not be an input; {}", column.name,
                         how_to_leave_out(dataset)));
    }
  }
  if (!dataset.outcome_like.empty() && !rules.allows("target")) {
    core::throw_input_error({rules.file},
                            "guard: inputs that are written as the labels are may be outcomes; data.exclude "
                            "= {} leaves them out, "
                            "data.table = [\"*\"] uses all that data.exclude does not name",
                            nlohmann::json(dataset.outcome_like).dump());
  }
}

void join_patients(Dataset& dataset) {
  std::unordered_map<std::string, std::string> first;  // of each plain name, the spelling that comes first
  std::vector<std::string> joined;
  std::set<std::string> several;
  std::string other;
  for (const std::string& patient : dataset.patients) {
    joined.push_back(first.emplace(plain_name(patient), patient).first->second);
    if (joined.back() == patient) continue;
    if (several.empty()) other = fmt::format("'{}' and '{}'", joined.back(), patient);
    several.insert(joined.back());
  }
  if (several.empty()) return;
  dataset.patient_spellings = std::exchange(dataset.patients, std::move(joined));
  dataset.notes.push_back(fmt::format(
      "{} patients are written in several ways, such as {}; each is one patient", several.size(), other));
}

std::string in_two_parts_text(const Dataset& dataset, size_t earlier, size_t row) {
  const auto& names = dataset.patient_spellings.empty() ? dataset.patients : dataset.patient_spellings;
  if (names[earlier] == names[row]) return fmt::format("patient '{}' lies in two parts", names[row]);
  return fmt::format("'{}' and '{}' are one patient, who lies in two parts", names[earlier], names[row]);
}

void check_parts(const Dataset& dataset, const Splits& splits, const LeakRules& rules) {
  const std::vector<int> parts = part_of_rows(dataset, splits);
  const auto name = [&](size_t row) { return kPartNames[static_cast<size_t>(parts[row])]; };
  if (!rules.allows("patient")) {
    if (const auto rows = in_two_parts(parts, dataset.patients)) {
      const auto [earlier, row] = *rows;
      refuse(rules, "patient",
             fmt::format("{}, {} ('{}') and {} ('{}')", in_two_parts_text(dataset, earlier, row),
                         name(earlier), dataset.ids[earlier], name(row), dataset.ids[row]));
    }
  }
  if (dataset.repeats.empty() || rules.allows("duplicate")) return;
  if (const auto rows = in_two_parts(parts, dataset.repeats)) {
    const auto [earlier, row] = *rows;
    refuse(rules, "duplicate",
           fmt::format("rows '{}' and '{}' are equal and lie in two parts, {} and {}", dataset.ids[earlier],
                       dataset.ids[row], name(earlier), name(row)));
  }
}

}  // namespace medfusion::data
