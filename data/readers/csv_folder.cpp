#include "data/readers/csv_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <unordered_set>

#include "data/labels.h"
#include "data/readers/csv.h"
#include "data/readers/csv_classes.h"
#include "data/readers/csv_inputs.h"
#include "data/readers/file_images.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInput = "an input";

bool is_pattern(const std::string& name) { return name.find('*') != std::string::npos; }

// The first place that fits each piece between asterisks is right, so nothing is tried again.
bool matches(std::string_view pattern, std::string_view name) {
  size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  name.remove_prefix(star);
  for (pattern.remove_prefix(star + 1); (star = pattern.find('*')) != std::string_view::npos;
       pattern.remove_prefix(star + 1)) {
    const size_t place = name.find(pattern.substr(0, star));
    if (place == std::string_view::npos) return false;
    name.remove_prefix(place + star);
  }
  return name.ends_with(pattern);
}

// The columns that a name stands for.
std::vector<int> columns_of(const CsvTable& table, const std::string& name) {
  if (!is_pattern(name)) return {table.column(name)};
  std::vector<int> columns;
  for (int column = 0; column < table.columns(); ++column) {
    const std::string& title = table.header()[static_cast<size_t>(column)];
    if (!title.empty() && matches(name, title)) columns.push_back(column);  // not an export's row numbers
  }
  if (columns.empty() && name != "*") core::throw_input_error({table.file(), 1}, "no column like '{}'", name);
  return columns;
}

// The columns that say what is true of a row.
std::vector<std::string> label_columns(const CsvOptions& options) {
  return options.class_column.empty() ? options.labels : std::vector{options.class_column};
}

// The role of each column that has one; a label that is an input as well would give the answer away.
std::map<int, std::string> assign_roles(const CsvTable& table, const CsvOptions& options) {
  std::map<int, std::string> roles;
  const auto assign = [&](const std::string& name, const std::string& role) {
    if (name.empty()) return;
    const auto [place, added] = roles.emplace(table.column(name), role);
    if (!added) {
      core::throw_input_error({table.file(), 1}, "column '{}' is both {} and {}", name, place->second, role);
    }
  };
  for (const std::string& name : label_columns(options)) assign(name, "a label");
  for (const std::string& name : options.table) {
    if (!is_pattern(name)) assign(name, kInput);
  }
  assign(options.text_column, "the text");
  assign(options.part_column, "the part");
  // The id, the patient, the image and the case may be one column.
  const std::set<std::string> names{options.id_column, options.patient_column, options.image_column,
                                    options.group_images};
  for (const std::string& name : names) assign(name, "the id, patient, image or case");
  return roles;
}

std::vector<int> input_columns(const CsvTable& table, const CsvOptions& options,
                               const std::map<int, std::string>& roles) {
  std::vector<int> columns;
  const auto is_input = [&](int column) {
    const auto role = roles.find(column);
    return role != roles.end() && role->second == kInput;
  };
  for (const std::string& name : options.table.empty() ? std::vector<std::string>{"*"} : options.table) {
    for (const int column : columns_of(table, name)) {
      const bool twice = std::find(columns.begin(), columns.end(), column) != columns.end();
      if (!twice && (is_input(column) || !roles.contains(column))) columns.push_back(column);
    }
  }
  for (const std::string& name : options.exclude) {
    if (name.empty()) continue;
    for (const int column : columns_of(table, name)) {
      if (is_input(column)) {
        core::throw_input_error({table.file(), 1}, "excluded column '{}' is an input",
                                table.header()[static_cast<size_t>(column)]);
      }
      std::erase(columns, column);
    }
  }
  for (const std::string& name : options.categorical) {
    if (std::find(columns.begin(), columns.end(), table.column(name)) == columns.end()) {
      core::throw_input_error({table.file(), 1}, "categorical column '{}' is not an input", name);
    }
  }
  return columns;
}

bool is_uncertain(const CsvTable& table, int64_t row, int column) {
  return parse_number(table.known(row, column)) == -1.0;
}

// What -1 is in a label, and a label that has one class only, are said once.
void note_label(const CsvTable& table, int column, const CsvOptions& options, Dataset& dataset) {
  const bool refused = options.uncertain == Uncertain::refuse || options.uncertain == Uncertain::automatic;
  int64_t uncertain = 0, first = -1, zeros = 0, ones = 0;
  for (int64_t row = 0; row < table.rows(); ++row) {
    if (is_uncertain(table, row, column) && uncertain++ == 0) first = row;
    const float value = table.label(row, column, refused ? Uncertain::unknown : options.uncertain);
    const bool blank = options.blank == BlankLabel::negative && table.known(row, column).empty();
    zeros += blank || value == 0.0F ? 1 : 0;
    ones += value == 1.0F ? 1 : 0;
  }
  const std::string& name = table.header()[static_cast<size_t>(column)];
  if (uncertain > 0 && refused) {
    core::throw_input_error(
        table.place(first, column),
        "label '{}' is -1 in {} of {} rows; expected 0, 1 or nothing, or data.uncertain = "
        "\"unknown\", \"negative\" or \"positive\"",
        name, uncertain, table.rows());
  }
  if (uncertain > 0) {
    dataset.notes.push_back(fmt::format("label '{}': -1 in {} of {} rows is read as {} (data.uncertain)",
                                        name, uncertain, table.rows(), core::text_of(options.uncertain)));
  }
  if (zeros + ones > 0 && (zeros == 0 || ones == 0)) {
    dataset.notes.push_back(fmt::format("label '{}' is {} wherever it is known, in {} of {} rows", name,
                                        ones > 0 ? 1 : 0, zeros + ones, table.rows()));
  }
}

// Where blanks are negatives, they become so, and are counted.
void fill_blanks(const CsvTable& table, int column, float* targets, int64_t labels, Dataset& dataset) {
  int64_t blank = 0;
  for (int64_t row = 0; row < table.rows(); ++row) {
    if (!table.known(row, column).empty()) continue;
    targets[row * labels] = 0.0F;
    ++blank;
  }
  if (blank == 0) return;
  dataset.notes.push_back(fmt::format("label '{}': nothing in {} of {} rows is read as negative (data.blank)",
                                      table.header()[static_cast<size_t>(column)], blank, table.rows()));
}

void read_targets(const CsvTable& table, const CsvOptions& options, Dataset& dataset) {
  if (!options.class_column.empty()) return read_classes(table, options, dataset);
  const auto count = static_cast<int64_t>(options.labels.size());
  dataset.labels = options.labels;
  dataset.targets = core::Tensor::empty({table.rows(), count});
  for (int64_t i = 0; i < count; ++i) {
    const int column = table.column(options.labels[static_cast<size_t>(i)]);
    note_label(table, column, options, dataset);
    for (int64_t row = 0; row < table.rows(); ++row)
      dataset.targets.data<float>()[row * count + i] = table.label(row, column, options.uncertain);
    if (options.blank == BlankLabel::negative)
      fill_blanks(table, column, dataset.targets.data<float>() + i, count, dataset);
  }
  dataset.exclusive = options.exclusive && count > 0;
  if (dataset.exclusive) check_exclusive(table, options, dataset);
}

// Inputs that nobody named and of which each known cell is written like a cell of a label.
std::vector<std::string> outcome_like(const CsvTable& table, const CsvOptions& options,
                                      const std::vector<Column>& inputs) {
  std::unordered_set<std::string_view> written;
  for (const std::string& label : label_columns(options)) {
    const int column = table.column(label);
    for (int64_t row = 0; row < table.rows(); ++row) written.insert(table.known(row, column));
  }
  std::vector<std::string> names;
  for (const Column& input : inputs) {
    const auto& named = options.categorical;
    if (std::find(named.begin(), named.end(), input.name) != named.end()) continue;
    const int column = table.column(input.name);
    int64_t row = 0;
    while (row < table.rows() &&
           (table.known(row, column).empty() || written.contains(table.known(row, column))))
      ++row;
    if (row == table.rows()) names.push_back(input.name);
  }
  return names;
}

void read_ids(const CsvTable& table, const CsvOptions& options, Dataset& dataset) {
  const std::string& name = options.id_column.empty() ? options.image_column : options.id_column;
  std::unordered_set<std::string> seen;
  for (int64_t row = 0; row < table.rows(); ++row) {
    std::string id = name.empty() ? "" : table.category(row, table.column(name));
    const bool needed = !options.id_column.empty() && !label_columns(options).empty();  // not to predict
    if (id.empty() && needed) table.reject(row, table.column(name), "an id");
    if (id.empty()) id = fmt::format("row-{}", row + 1);
    if (!seen.insert(id).second) table.reject(row, name.empty() ? 0 : table.column(name), "each id once");
    const bool has_patients = !options.patient_column.empty();
    dataset.patients.push_back(has_patients ? table.required(row, table.column(options.patient_column)) : id);
    if (!options.group_images.empty())
      dataset.image_groups.push_back(table.category(row, table.column(options.group_images)));
    dataset.ids.push_back(std::move(id));
  }
}

std::shared_ptr<ImageSource> find_images(const CsvTable& table, const CsvOptions& options, Hasher& hasher) {
  const int column = table.column(options.image_column);
  const fs::path folder =
      options.images.empty() ? fs::path(table.file()).parent_path() : fs::path(options.images);
  std::vector<std::string> paths;
  for (int64_t row = 0; row < table.rows(); ++row) {
    const std::string name = table.category(row, column);
    paths.push_back(name.empty() ? "" : (folder / name).string());
    if (name.empty()) continue;
    std::error_code error;
    const auto size = fs::file_size(paths.back(), error);
    if (error && options.on_error == OnError::fail) {
      core::throw_input_error(table.place(row, column), "expected the image as {}, got no such file",
                              paths.back());
    }
    hasher.add(name);
    hasher.add(static_cast<int64_t>(size));
  }
  return std::make_shared<FileImages>(std::move(paths), options.dialect.limits.image_pixels);
}

std::vector<std::string> read_parts(const CsvTable& table, int column) {
  std::vector<std::string> parts;
  for (int64_t row = 0; row < table.rows(); ++row) {
    parts.push_back(table.category(row, column));
    if (std::find(kPartNames.begin(), kPartNames.end(), parts.back()) == kPartNames.end())
      table.reject(row, column, "train, val or test");
  }
  return parts;
}

void note_writing(const CsvTable& table, Dataset& dataset) {
  if (table.separator() != ',') {
    dataset.notes.push_back(fmt::format("columns are separated by {}s (data.separator)",
                                        table.separator() == ';' ? "semicolon" : "tab"));
  }
  if (table.blank_rows() > 0)
    dataset.notes.push_back(fmt::format("{} blank rows are skipped", table.blank_rows()));
}

}  // namespace

bool names_column(const std::vector<std::string>& names, std::string_view column) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return matches(name, column); });
}

Dataset read_csv_folder(const CsvOptions& options) {
  check_distinct("labels", options.labels);
  check_distinct("table", options.table);
  const CsvTable table = CsvTable::read(options.file, options.dialect);
  if (table.rows() == 0)
    core::throw_input_error({table.file(), 2}, "expected at least one row after the header");
  const std::map<int, std::string> roles = assign_roles(table, options);
  Dataset dataset;
  dataset.name = "csv";
  dataset.known_columns = table.header();
  note_writing(table, dataset);
  read_ids(table, options, dataset);
  read_targets(table, options, dataset);
  read_inputs(table, input_columns(table, options, roles),
              {options.table, options.categorical, options.decimal, options.keep_constant}, dataset);
  if (options.table.empty()) dataset.outcome_like = outcome_like(table, options, dataset.columns);
  if (!options.text_column.empty()) {
    const int column = table.column(options.text_column);
    for (int64_t row = 0; row < table.rows(); ++row) dataset.texts.push_back(table.category(row, column));
  }
  if (!options.part_column.empty()) dataset.parts = read_parts(table, table.column(options.part_column));
  Hasher hasher;
  hasher.add(table.text());
  if (options.read_images && !options.image_column.empty())
    dataset.images = find_images(table, options, hasher);
  dataset.hash = hasher.digest();
  return dataset;
}

}  // namespace medfusion::data
