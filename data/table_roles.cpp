#include "data/table_roles.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "data/column_facts.h"
#include "data/dataset.h"
#include "data/text/tokenizer.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

constexpr double kFewestPatients = 0.05;  // values per row of a column that is called like patients
constexpr double kWordsOfText = 5.0;      // on average
constexpr size_t kMostWords = 30;         // of a category
constexpr int64_t kMostFolds = 20;

// Where images were looked for.
struct FoundImages {
  int column = -1;
  std::string folder;
  int64_t found = 0, known = 0, first_absent = -1;
};

FoundImages count_images(const CsvTable& table, int column, const fs::path& folder) {
  constexpr int64_t kTried = 20;  // cells that must hold a file before all are looked at
  FoundImages result{column, folder.string()};
  for (int64_t row = 0; row < table.rows(); ++row) {
    const std::string name = table.category(row, column);
    if (name.empty()) continue;
    ++result.known;
    std::error_code failure;
    if (fs::is_regular_file(folder / name, failure)) {
      ++result.found;
    } else if (result.first_absent < 0) {
      result.first_absent = row;
    }
    if (result.found == 0 && result.known == kTried) break;
  }
  return result;
}

std::string a_file_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) return entry.path().filename().string();
  }
  return "";
}

void choose_image(const CsvTable& table, const std::string& images, TableRoles& roles) {
  roles.image.why = "none was asked for; --images names their folder";
  if (images.empty()) return;
  const fs::path folder(images);
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) core::throw_input_error({images}, "expected a folder of images");
  const std::array<fs::path, 3> starts{fs::path(table.file()).parent_path(), folder,
                                       (folder / "").parent_path().parent_path()};
  FoundImages best;
  for (int column = 0; column < table.columns(); ++column) {
    for (const fs::path& start : starts) {
      const FoundImages found = count_images(table, column, start);
      if (found.found > best.found) best = found;
    }
  }
  if (best.column < 0) {
    core::throw_input_error({table.file(), 1}, "expected a column with names of files in {}, such as '{}'",
                            images, a_file_in(folder));
  }
  if (best.first_absent >= 0) {
    core::throw_input_error(
        table.place(best.first_absent, best.column),
        "{} of {} cells of column '{}' name no file in {}, such as '{}'", best.known - best.found, best.known,
        table.header()[static_cast<size_t>(best.column)], best.folder.empty() ? "." : best.folder,
        table.category(best.first_absent, best.column));
  }
  roles.image = {table.header()[static_cast<size_t>(best.column)],
                 fmt::format("each of its {} cells names a file", best.known)};
  roles.image_folder = best.folder;
}

// "Patient ID", "patient_id", "subject", "group".
bool is_called_patient(const std::string& name) {
  std::string letters;
  for (const char c : lower(name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) letters += c;
  }
  for (const char* what : {"patient", "subject", "participant", "person", "group"}) {
    for (const char* end : {"", "id", "ids", "no", "nr", "number", "num", "name", "code", "key"}) {
      if (letters == std::string(what) + end) return true;
    }
  }
  return false;
}

// Whether most cells hold a blank or letters beyond ASCII: a name of a file has words as well.
bool has_sentences(const ColumnFacts& column) {
  const auto sentences = std::count_if(column.cells.begin(), column.cells.end(), [](std::string_view cell) {
    return std::any_of(cell.begin(), cell.end(),
                       [](char c) { return c == ' ' || static_cast<unsigned char>(c) >= 0x80; });
  });
  return sentences * 2 > column.known;
}

// Whether rows with one value in `fine` never have two in `coarse`.
bool joins_all_of(const ColumnFacts& coarse, const ColumnFacts& fine) {
  std::unordered_map<std::string_view, std::string_view> joined;
  for (size_t row = 0; row < fine.cells.size(); ++row) {
    const auto [place, added] = joined.emplace(fine.cells[row], coarse.cells[row]);
    if (!added && place->second != coarse.cells[row]) return false;
  }
  return true;
}

void choose_patient(const std::vector<ColumnFacts>& columns, TableRoles& roles) {
  const ColumnFacts* chosen = nullptr;
  std::string others;
  roles.patient.why = "no column is called patient, subject, participant, person or group";
  for (const ColumnFacts& column : columns) {
    const auto rows = static_cast<double>(column.cells.size());
    if (!is_called_patient(column.name)) continue;
    if (column.known < static_cast<int64_t>(column.cells.size())) {
      roles.patient.why = fmt::format("column '{}' is called so but lacks cells", column.name);
      continue;
    }
    if (static_cast<double>(column.distinct) < kFewestPatients * rows) continue;
    const bool coarser =
        chosen != nullptr && column.distinct < chosen->distinct && joins_all_of(column, *chosen);
    if (chosen != nullptr) others = coarser ? chosen->name : column.name;
    if (chosen == nullptr || coarser) chosen = &column;
  }
  if (chosen == nullptr) return;
  roles.patient = {chosen->name, fmt::format("it is called so, and has {} values", chosen->distinct)};
  if (!others.empty()) roles.patient.why += fmt::format("; '{}' is called so as well", others);
}

void choose_id(const std::vector<ColumnFacts>& columns, TableRoles& roles) {
  const auto unique = [](const ColumnFacts& column) {
    const auto rows = static_cast<int64_t>(column.cells.size());
    return column.known == rows && column.distinct == rows;
  };
  if (!roles.image.column.empty()) {
    const ColumnFacts& image = facts_of(columns, roles.image.column);
    if (image.distinct == image.known) {
      roles.id.why = "each image is there once";
      return;
    }
  }
  for (const ColumnFacts& column : columns) {
    const bool known_as_id = column.name == roles.patient.column || column.seems_identifier;
    if (known_as_id && column.name != roles.text.column && unique(column)) {
      roles.id = {column.name, "it is the first identifier that is unique"};
      return;
    }
  }
  if (roles.image.column.empty()) {
    roles.id.why = "no identifier is unique";
    return;
  }
  core::throw_input_error({},
                          "column '{}' names some images twice; expected a column of unique ids beside it",
                          roles.image.column);
}

double mean_words(const ColumnFacts& column) {
  size_t words = 0;
  for (const std::string_view cell : column.cells) words += split_words(cell).size();
  return static_cast<double>(words) / static_cast<double>(std::max<int64_t>(1, column.known));
}

void choose_text(const std::vector<ColumnFacts>& columns, TableRoles& roles) {
  double most = 0.0;
  std::string others;
  roles.text.why = fmt::format("no column holds {:g} words or more on average", kWordsOfText);
  for (const ColumnFacts& column : columns) {
    const bool differs = column.distinct * 2 >= column.known && column.known > 0;
    if (!differs || !has_sentences(column)) continue;
    const double words = mean_words(column);
    if (words < kWordsOfText) continue;
    if (words > most) {
      if (!roles.text.column.empty()) others = roles.text.column;
      roles.text = {column.name, fmt::format("{:.0f} words on average", words)};
      most = words;
    } else {
      others = column.name;
    }
  }
  if (!others.empty()) roles.text.why += fmt::format(", more than '{}'", others);
}

void choose_part(const std::vector<ColumnFacts>& columns, TableRoles& roles) {
  roles.part.why = "no column holds train, val and test";
  for (const ColumnFacts& column : columns) {
    const std::set<std::string_view> words(column.cells.begin(), column.cells.end());
    const bool parts = std::all_of(words.begin(), words.end(), [](std::string_view word) {
      return std::find(kPartNames.begin(), kPartNames.end(), word) != kPartNames.end();
    });
    if (parts && words.contains("train") && words.contains("test"))
      roles.part = {column.name, "it holds train, val and test"};
  }
}

bool is_called_fold(const std::string& name) {
  const std::string letters = lower(name);
  return letters == "fold" || letters == "folds" || letters == "split" || letters == "part" ||
         letters == "partition" || letters.ends_with("_fold") || letters.ends_with("_split");
}

// Why a column without a role is no input; `outcome` as in LeftOutColumn. Empty: it is one.
std::string why_no_input(const std::vector<ColumnFacts>& columns, const ColumnFacts& column,
                         const TableRoles& roles, bool& outcome) {
  const auto rows = static_cast<int64_t>(column.cells.size());
  outcome = false;
  if (column.name.empty()) return "it has no name";
  if (is_called_patient(column.name) && !roles.patient.column.empty())
    return fmt::format("'{}' is the patient", roles.patient.column);
  if (!column.why_left_out.empty()) return column.why_left_out;
  if (is_called_fold(column.name) && column.distinct <= kMostFolds)
    return "it is called like a part of a split";
  if (column.known * 10 < rows) return "fewer than a tenth of its cells are known";
  std::string why = why_outcome(columns, column, roles.label_columns);
  outcome = !why.empty();
  if (outcome) return why;
  if (!column.numeric && column.distinct > static_cast<int64_t>(kMostWords))
    return fmt::format("it holds {} words, more than {}", column.distinct, kMostWords);
  return "";
}

void choose_inputs(const std::vector<ColumnFacts>& columns, TableRoles& roles) {
  std::set<std::string> taken{roles.image.column, roles.id.column, roles.patient.column, roles.text.column,
                              roles.part.column};
  taken.insert(roles.label_columns.begin(), roles.label_columns.end());
  taken.erase("");
  const LabelCoding coding = facts_of(columns, roles.label_columns.front()).coding;
  for (const ColumnFacts& column : columns) {
    if (taken.contains(column.name)) continue;
    bool outcome = false;
    std::string why = why_no_input(columns, column, roles, outcome);
    if (!why.empty()) {
      roles.left_out.push_back({column.name, std::move(why), outcome});
      continue;
    }
    roles.inputs.push_back(column.name);
    if (column.could_be_label() && column.coding == coding) roles.more_inputs.push_back(column.name);
  }
}

}  // namespace

TableRoles choose_roles(const CsvTable& table, const std::string& images,
                        const std::vector<std::string>& labels) {
  if (table.rows() == 0)
    core::throw_input_error({table.file(), 2}, "expected at least one row after the header");
  const std::vector<ColumnFacts> columns = column_facts(table);
  TableRoles roles;
  choose_image(table, images, roles);
  choose_patient(columns, roles);
  choose_text(columns, roles);
  choose_id(columns, roles);
  choose_part(columns, roles);
  const std::vector<std::string> taken{roles.image.column, roles.id.column, roles.patient.column,
                                       roles.text.column, roles.part.column};
  const ChosenLabels chosen = choose_labels(table, columns, taken, labels);
  roles.label_columns = chosen.columns;
  roles.labels.why = chosen.why;
  roles.more_labels = chosen.others;
  choose_inputs(columns, roles);
  return roles;
}

std::vector<std::string> words_for_missing(const CsvTable& table) {
  static const std::unordered_set<std::string> kWords{"unk",           "unknown", "not known",
                                                      "not available", "missing", "-"};
  std::set<std::string> found;
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (int column = 0; column < table.columns(); ++column) {
      const std::string_view cell = table.known(row, column);
      if (cell.size() <= 13 && kWords.contains(lower(cell))) found.emplace(cell);
    }
  }
  return {found.begin(), found.end()};
}

}  // namespace medfusion::data
