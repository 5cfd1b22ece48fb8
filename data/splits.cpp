#include "data/splits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "core/random.h"
#include "data/leakage.h"
#include "data/readers/csv.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

// Streams of the generator: the draws of one purpose do not change with those of another.
enum SplitStream : uint64_t { kValStream = 101, kTestStream = 102, kFoldStream = 103, kInnerStream = 104 };
enum Part { kTrain, kVal, kTest, kNone };  // as kPartNames; kNone: in no part
constexpr std::array kOfficialLists{"train_val_list.txt", "test_list.txt"};

// The group of each row (a part or a fold) as a file states it.
class StatedGroups {
 public:
  explicit StatedGroups(const Dataset& dataset) : group(dataset.ids.size(), -1), places(dataset.ids.size()) {
    for (size_t row = 0; row < dataset.ids.size(); ++row) row_of_.emplace(dataset.ids[row], row);
    for (const SkippedRow& row : dataset.skipped) skipped_.insert(row.id);
  }

  bool knows(const std::string& id) const { return row_of_.contains(id) || skipped_.contains(id); }

  void set(const std::string& id, int64_t value, const core::Place& place) {
    const auto found = row_of_.find(id);
    if (found == row_of_.end() && skipped_.contains(id)) return;
    if (found == row_of_.end()) core::throw_input_error(place, "expected an id of the data, got '{}'", id);
    const size_t row = found->second;
    if (group[row] >= 0) {
      core::throw_input_error(place, "expected each id once, got '{}' again; first in {}:{}", id,
                              places[row].file, places[row].line);
    }
    group[row] = value;
    places[row] = place;
  }

  std::vector<int64_t> group;  // -1 where nothing has been said
  std::vector<core::Place> places;

 private:
  std::unordered_map<std::string_view, size_t> row_of_;
  std::set<std::string_view> skipped_;
};

// Every row has a group, unless `partial`, and the rows of a patient the same one.
void check_groups(const Dataset& dataset, const StatedGroups& groups, const std::string& file,
                  const std::function<std::string(int64_t)>& name, bool allow_patients,
                  bool partial = false) {
  std::unordered_map<std::string_view, size_t> first_row;
  for (size_t i = 0; i < groups.group.size(); ++i) {
    if (groups.group[i] < 0 && partial) continue;
    if (groups.group[i] < 0) {
      core::throw_input_error({file}, "expected every id of the data, '{}' is missing", dataset.ids[i]);
    }
    const size_t first = first_row.emplace(dataset.patients[i], i).first->second;
    if (!allow_patients && groups.group[first] != groups.group[i]) {
      const bool placed = !groups.places[i].file.empty();
      core::throw_input_error(
          placed ? groups.places[i] : core::Place{fmt::format("{}, row '{}'", file, dataset.ids[i])},
          "{}, {} and {}; guard.allow = [\"patient\"] accepts it", in_two_parts_text(dataset, first, i),
          name(groups.group[first]), name(groups.group[i]));
    }
  }
}

void check_fraction(const char* name, double fraction) {
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    core::throw_input_error({}, "{}: expected a fraction of at least 0 and below 1, got {}", name, fraction);
  }
}

// What is said of an empty part where rows were skipped.
std::string skipped_text(const Dataset& dataset) {
  if (dataset.skipped.empty()) return "";
  const size_t count = dataset.skipped.size();
  return fmt::format("; {} skipped, for {} cannot be read (data.on_error)",
                     count == 1 ? "1 row is" : fmt::format("{} rows are", count),
                     count == 1 ? "its image" : "their images");
}

void check_not_empty(const Dataset& dataset, Part part, const std::vector<int64_t>& rows,
                     const std::string& file = "") {
  if (!rows.empty()) return;
  core::throw_input_error({file}, "the {} part of the split is empty{}", kPartNames[part],
                          skipped_text(dataset));
}

// Patients and equal rows stay together, so there may be too few of them to draw a part from.
void check_drawn(const Dataset& dataset, Part part, const std::vector<int64_t>& rows) {
  if (!rows.empty()) return;
  const std::vector<std::string>& names = dataset.groups.empty() ? dataset.patients : dataset.groups;
  core::throw_input_error({},
                          "the {} part of the split is empty: of {} rows those of one patient and equal ones "
                          "stay together, which leaves {} to draw",
                          kPartNames[part], names.size(),
                          std::set<std::string>(names.begin(), names.end()).size());
}

// Names of the groups of `rows` (patients, where there are no others) in random order, with their rows.
// Independent of the order of the rows.
std::vector<std::pair<std::string_view, std::vector<int64_t>>> shuffled_groups(
    const Dataset& dataset, const std::vector<int64_t>& rows, uint64_t seed, uint64_t stream) {
  std::map<std::string_view, std::vector<int64_t>> by_name;
  const std::vector<std::string>& names = dataset.groups.empty() ? dataset.patients : dataset.groups;
  for (const int64_t row : rows) by_name[names[static_cast<size_t>(row)]].push_back(row);
  std::vector<std::pair<std::string_view, std::vector<int64_t>>> groups(by_name.begin(), by_name.end());
  core::Generator(seed, stream).shuffle(groups);
  return groups;
}

// Moves patients worth about `count` rows from `rows` to the result; both ascending.
std::vector<int64_t> draw(const Dataset& dataset, std::vector<int64_t>& rows, double count, uint64_t seed,
                          uint64_t stream) {
  std::vector<int64_t> drawn, kept;
  for (const auto& [name, own] : shuffled_groups(dataset, rows, seed, stream)) {
    const double without = static_cast<double>(drawn.size());
    const double with = without + static_cast<double>(own.size());
    std::vector<int64_t>& part = std::abs(with - count) < std::abs(without - count) ? drawn : kept;
    part.insert(part.end(), own.begin(), own.end());
  }
  std::sort(drawn.begin(), drawn.end());
  std::sort(kept.begin(), kept.end());
  rows = std::move(kept);
  return drawn;
}

void draw_val(const Dataset& dataset, double val_fraction, uint64_t seed, Splits& splits) {
  check_fraction("val_fraction", val_fraction);
  if (val_fraction == 0.0) return;
  const double count = val_fraction * static_cast<double>(splits.train.size());
  splits.val = draw(dataset, splits.train, count, seed, kValStream);
  check_drawn(dataset, kVal, splits.val);
  check_drawn(dataset, kTrain, splits.train);
}

std::string part_name(int64_t part) {
  return part == kNone ? "none" : std::string(kPartNames[static_cast<size_t>(part)]);
}
std::string fold_name(int64_t fold) { return fmt::format("fold {}", fold); }

// Parts as stated, val drawn where there is none.
Splits stated_splits(const Dataset& dataset, const StatedGroups& groups, const std::string& file,
                     double val_fraction, uint64_t seed, bool allow_patients, bool partial = false) {
  check_groups(dataset, groups, file, part_name, allow_patients, partial);
  Splits splits;
  const std::array<std::vector<int64_t>*, 3> parts = {&splits.train, &splits.val, &splits.test};
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const int64_t part = groups.group[static_cast<size_t>(i)];
    if (part >= 0 && part != kNone) parts[static_cast<size_t>(part)]->push_back(i);
  }
  check_not_empty(dataset, kTrain, splits.train, file);
  check_not_empty(dataset, kTest, splits.test, file);
  if (splits.val.empty()) draw_val(dataset, val_fraction, seed, splits);
  return splits;
}

std::vector<int64_t> all_rows(const Dataset& dataset) {
  std::vector<int64_t> rows(dataset.ids.size());
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

// A CSV file with two columns: the id, and `what`, which group_of reads as a number.
StatedGroups read_groups(const Dataset& dataset, const std::string& file, const char* what,
                         int64_t (*group_of)(const CsvTable& table, int64_t row)) {
  const CsvTable table = CsvTable::read(file);
  if (table.columns() != 2) {
    core::throw_input_error({file, 1}, "expected two columns, the id and the {}, got {}", what,
                            table.columns());
  }
  StatedGroups groups(dataset);
  for (int64_t row = 0; row < table.rows(); ++row) {
    const int64_t group = group_of(table, row);
    groups.set(table.required(row, 0), group, table.place(row, 0));
  }
  return groups;
}

// All of 1 to k are there, and no 0.
bool count_from_one(const std::vector<int64_t>& folds) {
  const std::set<int64_t> distinct(folds.begin(), folds.end());
  return !distinct.empty() && *distinct.begin() == 1 &&
         *distinct.rbegin() == static_cast<int64_t>(distinct.size());
}

int64_t fold_of(const CsvTable& table, int64_t row) { return table.integer(row, 1, 0, 9999); }

int64_t part_of(std::string_view name) {
  const auto found = std::find(kPartNames.begin(), kPartNames.end(), name);
  return found == kPartNames.end() ? -1 : found - kPartNames.begin();
}

}  // namespace

std::optional<int64_t> SplitOptions::fold_count() const { return parse_integer(folds); }

void SplitOptions::check_rules(const core::Require& require) const {
  require(kind != SplitKind::file || !file.empty(), {"data.split_file", "data.split"},
          "expected a file name, got nothing");
  require(kind != SplitKind::folds || !folds.empty(), {"data.folds", "data.split"},
          "expected a file name or a number of folds, got nothing");
  if (const auto count = fold_count()) {
    require(*count >= 2, {"data.folds"},
            fmt::format("expected a file name or at least 2 folds, got {}", *count));
    require(kind != SplitKind::folds || fold < *count, {"data.fold", "data.folds"},
            fmt::format("expected a fold below {}, got {}", *count, fold));
  }
  require(
      kind != SplitKind::random || val_fraction + test_fraction < 1.0,
      {"data.val_fraction", "data.test_fraction"},
      fmt::format("expected a sum with data.test_fraction below 1, got {}", val_fraction + test_fraction));
}

namespace {

// The parts of the official lists, and the number of their ids that the data lacks.
std::pair<StatedGroups, int64_t> read_official_lists(const Dataset& dataset, const std::string& root) {
  StatedGroups groups(dataset);
  int64_t lacking = 0;
  for (const auto& [name, part] :
       {std::pair{kOfficialLists[0], kTrain}, std::pair{kOfficialLists[1], kTest}}) {
    const std::string file = find_text_file(root, name);
    if (file.empty()) {
      core::throw_input_error({(std::filesystem::path(root) / name).string()},
                              "the official split needs this list, got no such file");
    }
    const std::vector<Line> lines = read_lines(file);
    if (lines.empty()) core::throw_input_error({file}, "expected the name of an image per line, got none");
    for (const Line& line : lines) {
      if (groups.knows(line.text)) {
        groups.set(line.text, part, {file, line.number});
      } else {
        ++lacking;
      }
    }
  }
  return {std::move(groups), lacking};
}

}  // namespace

Splits official_splits(const Dataset& dataset, const std::string& root, double val_fraction, uint64_t seed,
                       bool allow_patients) {
  return stated_splits(dataset, read_official_lists(dataset, root).first, root, val_fraction, seed,
                       allow_patients, true);
}

std::string departures_from_lists(const Dataset& dataset, const std::string& root) {
  for (const char* name : kOfficialLists) {
    if (find_text_file(root, name).empty()) return "";
  }
  const auto [groups, lacking] = read_official_lists(dataset, root);
  const auto unlisted = std::count(groups.group.begin(), groups.group.end(), -1);
  if (lacking + unlisted == 0) return "";
  return fmt::format(
      "official lists: {} of their images are not in the data; {} of {} rows are in no list and in "
      "no part",
      lacking, unlisted, dataset.size());
}

Splits own_splits(const Dataset& dataset, double val_fraction, uint64_t seed, bool allow_patients) {
  if (dataset.parts.empty()) {
    core::throw_input_error({}, "split: the {} data does not say which rows train and test", dataset.name);
  }
  StatedGroups groups(dataset);
  for (size_t i = 0; i < groups.group.size(); ++i) groups.group[i] = part_of(dataset.parts[i]);
  return stated_splits(dataset, groups, dataset.name, val_fraction, seed, allow_patients);
}

Splits file_splits(const Dataset& dataset, const std::string& file, double val_fraction, uint64_t seed,
                   bool allow_patients) {
  const auto groups = read_groups(dataset, file, "part", [](const CsvTable& table, int64_t row) {
    const std::string name(trim(table.cell(row, 1)));
    const int64_t part = name == "none" ? int64_t{kNone} : part_of(name);
    if (part < 0) table.reject(row, 1, "train, val, test or none");
    return part;
  });
  return stated_splits(dataset, groups, file, val_fraction, seed, allow_patients);
}

Splits random_splits(const Dataset& dataset, double val_fraction, double test_fraction, uint64_t seed) {
  check_fraction("val_fraction", val_fraction);
  check_fraction("test_fraction", test_fraction);
  if (val_fraction + test_fraction >= 1.0) {
    core::throw_input_error({}, "val_fraction + test_fraction: expected less than 1, got {}",
                            val_fraction + test_fraction);
  }
  Splits splits;
  splits.train = all_rows(dataset);
  const auto size = static_cast<double>(dataset.size());
  if (test_fraction > 0.0) {
    splits.test = draw(dataset, splits.train, test_fraction * size, seed, kTestStream);
    check_drawn(dataset, kTest, splits.test);
  }
  if (val_fraction > 0.0) {
    splits.val = draw(dataset, splits.train, val_fraction * size, seed, kValStream);
    check_drawn(dataset, kVal, splits.val);
  }
  check_drawn(dataset, kTrain, splits.train);
  return splits;
}

std::vector<int64_t> read_folds(const Dataset& dataset, const std::string& file, bool allow_patients) {
  auto groups = read_groups(dataset, file, "fold", fold_of);
  check_groups(dataset, groups, file, fold_name, allow_patients);
  for (const int64_t shift = count_from_one(groups.group) ? 1 : 0; int64_t & fold : groups.group)
    fold -= shift;
  return groups.group;
}

std::string fold_numbering(const Dataset& dataset, const std::string& file) {
  return count_from_one(read_groups(dataset, file, "fold", fold_of).group)
             ? "the folds of " + file + " count from 1: here they count from 0"
             : "";
}

std::vector<int64_t> make_folds(const Dataset& dataset, int64_t count, uint64_t seed) {
  if (count < 2) core::throw_input_error({}, "folds: expected at least 2, got {}", count);
  auto patients = shuffled_groups(dataset, all_rows(dataset), seed, kFoldStream);
  if (count > static_cast<int64_t>(patients.size())) {
    core::throw_input_error({}, "folds: expected at most one per patient ({}), got {}", patients.size(),
                            count);
  }
  // The patient with the most images first, each to the fold that has the fewest.
  std::stable_sort(patients.begin(), patients.end(),
                   [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
  std::vector<size_t> sizes(static_cast<size_t>(count), 0);
  std::vector<int64_t> folds(static_cast<size_t>(dataset.size()));
  for (const auto& [name, own] : patients) {
    const auto smallest = std::min_element(sizes.begin(), sizes.end());
    *smallest += own.size();
    for (const int64_t row : own) folds[static_cast<size_t>(row)] = smallest - sizes.begin();
  }
  return folds;
}

Splits fold_splits(const Dataset& dataset, const std::vector<int64_t>& folds, int64_t fold,
                   double val_fraction, uint64_t seed) {
  MEDFUSION_CHECK(folds.size() == dataset.ids.size(), "fold_splits: {} rows, got the folds of {}",
                  dataset.size(), folds.size());
  Splits splits;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    (folds[static_cast<size_t>(i)] == fold ? splits.test : splits.train).push_back(i);
  }
  if (splits.test.empty()) {
    const int64_t highest = *std::max_element(folds.begin(), folds.end());
    const std::string rule =
        fold > 0 ? "" : fmt::format("; folds count from 0, or from 1 where each of 1..{} is there", highest);
    core::throw_input_error({}, "the test part of the split is empty: fold {} of 0..{} has no rows{}", fold,
                            highest, rule);
  }
  check_not_empty(dataset, kTrain, splits.train);
  draw_val(dataset, val_fraction, seed, splits);
  return splits;
}

Splits inner_splits(const Dataset& dataset, const std::vector<int64_t>& folds, int64_t fold,
                    double test_fraction, uint64_t seed) {
  check_fraction("test_fraction", test_fraction);
  Splits splits;
  splits.train = fold_splits(dataset, folds, fold, 0.0, seed).train;
  const double count = test_fraction * static_cast<double>(splits.train.size());
  splits.test = draw(dataset, splits.train, count, seed, kInnerStream);
  check_drawn(dataset, kTest, splits.test);
  check_drawn(dataset, kTrain, splits.train);
  return splits;
}

}  // namespace medfusion::data
