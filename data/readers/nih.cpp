#include "data/readers/nih.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "data/labels.h"
#include "data/readers/csv.h"
#include "data/readers/csv_inputs.h"
#include "data/readers/file_images.h"
#include "data/readers/text_file.h"
#include "data/unreadable.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr double kOldest = 110;

// The official header; its last two names hold a comma and so count as two columns each.
constexpr std::array<std::string_view, 11> kHeader = {"Image Index",
                                                      "Finding Labels",
                                                      "Follow-up #",
                                                      "Patient ID",
                                                      "Patient Age",
                                                      "Patient Gender",
                                                      "View Position",
                                                      "OriginalImage[Width",
                                                      "Height]",
                                                      "OriginalImagePixelSpacing[x",
                                                      "y]"};
// The same columns as the sample of 5,606 images on Kaggle spells them, and later releases the sex.
constexpr std::array<std::string_view, 11> kOtherHeader = {"",
                                                           "",
                                                           "",
                                                           "",
                                                           "",
                                                           "Patient Sex",
                                                           "",
                                                           "OriginalImageWidth",
                                                           "OriginalImageHeight",
                                                           "OriginalImagePixelSpacing_x",
                                                           "OriginalImagePixelSpacing_y"};
enum HeaderColumn { kImage, kFindings, kFollowUp, kPatient, kAge, kSex, kView, kWidth, kHeight, kSpacing };

void check_header(const CsvTable& table) {
  for (size_t i = 0; i < kHeader.size(); ++i) {
    const int column = static_cast<int>(i);
    if (column >= table.columns()) {
      core::throw_input_error({table.file(), 1},
                              "expected column {} of the header to be '{}', got {} columns", i + 1,
                              kHeader[i], table.columns());
    }
    if (table.header()[i] != kHeader[i] &&
        (kOtherHeader[i].empty() || table.header()[i] != kOtherHeader[i])) {
      core::throw_input_error(table.place(-1, column),
                              "expected column {} of the header to be '{}', got '{}'", i + 1, kHeader[i],
                              table.header()[i]);
    }
  }
  // The first release ends each line with a comma.
  const size_t extra = table.header().size() - kHeader.size();
  if (extra > 1 || (extra == 1 && !table.header().back().empty())) {
    core::throw_input_error(table.place(-1, static_cast<int>(kHeader.size())),
                            "expected {} columns, got '{}' after them", kHeader.size(),
                            table.header()[kHeader.size()]);
  }
  if (table.rows() == 0) core::throw_input_error({table.file(), 2}, "expected one line per image, got none");
}

// Years. Old releases write 058Y, 007M, 003W or 012D.
double parse_age(const CsvTable& table, int64_t row) {
  const std::string cell = table.category(row, kAge);
  if (cell.empty()) return kUnknown;
  const char unit = std::isdigit(static_cast<unsigned char>(cell.back())) != 0 ? 'Y' : cell.back();
  const std::string digits = unit == cell.back() ? cell.substr(0, cell.size() - 1) : cell;
  const auto value = parse_integer(digits);
  if (!value || *value < 0 || std::string_view("YMWD").find(unit) == std::string_view::npos) {
    table.reject(row, kAge, "an age such as 58 or 058Y");
  }
  const double per_year = unit == 'M' ? 12.0 : unit == 'W' ? 52.0 : unit == 'D' ? 365.0 : 1.0;
  const double years = std::floor(static_cast<double>(*value) / per_year);
  return years > kOldest ? kUnknown : years;
}

std::string one_of(const CsvTable& table, int64_t row, int column, std::string_view a, std::string_view b) {
  std::string cell = table.category(row, column);
  if (!cell.empty() && cell != a && cell != b)
    table.reject(row, column, fmt::format("{}, {} or nothing", a, b));
  return cell;
}

// Sets the row's entries of targets [N, 14] from a cell such as "Edema|Mass".
void parse_findings(const CsvTable& table, int64_t row, float* targets) {
  const std::string_view cell = trim(table.cell(row, kFindings));
  if (cell == "No Finding") return;
  for (size_t start = 0; start <= cell.size();) {
    const size_t end = std::min(cell.find('|', start), cell.size());
    const std::string_view name = cell.substr(start, end - start);
    const auto found = std::find(kNihLabels.begin(), kNihLabels.end(), name);
    if (found == kNihLabels.end()) {
      table.reject(
          row, kFindings,
          name == "No Finding" ? "No Finding alone" : fmt::format("a known finding instead of '{}'", name));
    }
    targets[found - kNihLabels.begin()] = 1.0F;
    start = end + 1;
  }
}

std::vector<fs::path> image_folders(const fs::path& root) {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!entry.is_directory() || !entry.path().filename().string().starts_with("images")) continue;
    folders.push_back(entry.path());
    if (fs::is_directory(entry.path() / "images")) folders.push_back(entry.path() / "images");
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// Leaves out the rows whose image is in none of the folders: whoever downloads a part of the data has the
// whole table.
void leave_out_absent(Dataset& dataset, const FileIndex& files, const NihOptions& options,
                      const CsvTable& table) {
  const fs::path root = options.root;
  std::vector<int64_t> present;
  int64_t absent = -1;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (files.contains(dataset.ids[static_cast<size_t>(row)])) {
      present.push_back(row);
    } else if (absent < 0) {
      absent = row;
    }
  }
  if (absent < 0) return;
  const std::string name = dataset.ids[static_cast<size_t>(absent)];
  if (present.empty() || !options.partial) {
    core::throw_input_error(table.place(absent, kImage),
                            "expected the image as {} or in another images*/ folder, got no such file{}",
                            (root / "images" / name).string(),
                            options.partial ? ", nor that of another row" : "");
  }
  dataset.notes.push_back(
      fmt::format("{} of {} rows are left out, for their images are not in {}, such as '{}'",
                  dataset.size() - static_cast<int64_t>(present.size()), dataset.size(),
                  (root / "images*").string(), name));
  keep_rows(dataset, present);
}

std::shared_ptr<ImageSource> find_images(const FileIndex& files, const Dataset& dataset,
                                         const NihOptions& options, Hasher& hasher) {
  std::vector<std::string> paths;
  for (const std::string& name : dataset.ids) {
    const auto found = files.find(name);
    const FileEntry file = found != files.end()
                               ? found->second
                               : FileEntry{(fs::path(options.root) / "images" / name).string(), -1};
    paths.push_back(file.path);
    hasher.add(name);
    hasher.add(file.size);
  }
  return std::make_shared<FileImages>(std::move(paths), options.limits.image_pixels);
}

CsvTable read_table(const fs::path& root, const FileLimits& limits) {
  if (!fs::is_directory(root))
    core::throw_input_error({root.string()}, "expected a folder in the NIH layout, got none");
  for (const char* name : {"Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "sample_labels.csv"}) {
    const std::string path = find_text_file(root, name);
    if (!path.empty()) return CsvTable::read(path, {.limits = limits});
  }
  core::throw_input_error(
      {(root / "Data_Entry_2017.csv").string()},
      "expected this table, Data_Entry_2017_v2020.csv or sample_labels.csv, got no such file");
}

}  // namespace

std::string nih_text(double age, std::string_view sex, std::string_view view, double follow_up,
                     double aspect_ratio) {
  constexpr std::array<const char*, 10> kAges = {
      "under ten",      "in the teens",   "in the twenties",  "in the thirties", "in the forties",
      "in the fifties", "in the sixties", "in the seventies", "in the eighties", "over ninety"};
  std::string text = "image";
  if (follow_up == 0) text = "first image";
  if (follow_up >= 1)
    text = follow_up <= 3 ? "follow-up 1 to 3" : follow_up <= 9 ? "follow-up 4 to 9" : "follow-up 10 or more";
  text += " of a ";
  if (!sex.empty()) text += sex == "M" ? "male " : "female ";
  text += "patient";
  if (!std::isnan(age))
    text += fmt::format(" {}", kAges[static_cast<size_t>(std::clamp(age / 10, 0.0, 9.0))]);
  if (!view.empty()) text += view == "PA" ? ", posteroanterior view" : ", anteroposterior view";
  if (!std::isnan(aspect_ratio)) {
    const char* format = aspect_ratio < 0.99 ? "portrait" : aspect_ratio > 1.01 ? "landscape" : "square";
    text += fmt::format(", {} format", format);
  }
  return text;
}

namespace {

// The columns of the table as NihOptions::columns wants them, and the text made of them alone.
void describe(Dataset& dataset, const std::vector<std::string>& wanted, const std::string& file) {
  select_columns(dataset, wanted, file);
  const auto column = [&](const char* name) {
    const auto found = std::find_if(dataset.columns.begin(), dataset.columns.end(),
                                    [&](const Column& c) { return c.name == name; });
    return found == dataset.columns.end() ? nullptr : &*found;
  };
  const Column *age = column("age"), *sex = column("sex"), *view = column("view"),
               *follow_up = column("follow_up"), *aspect_ratio = column("aspect_ratio");
  for (size_t row = 0; row < dataset.ids.size(); ++row) {
    dataset.texts.push_back(nih_text(age ? age->numbers[row] : kUnknown, sex ? sex->categories[row] : "",
                                     view ? view->categories[row] : "",
                                     follow_up ? follow_up->numbers[row] : kUnknown,
                                     aspect_ratio ? aspect_ratio->numbers[row] : kUnknown));
  }
}

// The columns of another table about the images of `dataset`, found by their names.
void join(Dataset& dataset, const CsvTable& extra, const std::vector<std::string>& categorical) {
  const int key = extra.column(std::string(kHeader[kImage]));
  std::unordered_map<std::string, size_t> row_of;
  for (int64_t row = 0; row < extra.rows(); ++row) {
    if (!row_of.emplace(extra.required(row, key), row).second) extra.reject(row, key, "each image once");
  }
  std::vector<size_t> rows;
  for (const std::string& id : dataset.ids) {
    const auto found = row_of.find(id);
    if (found == row_of.end())
      core::throw_input_error({extra.file()}, "expected a row for image {}, got none", id);
    rows.push_back(found->second);
  }
  for (int column = 0; column < extra.columns(); ++column) {
    const std::string& name = extra.header()[static_cast<size_t>(column)];
    if (column == key || name.empty()) continue;
    for (const Column& known : dataset.columns) {
      if (known.name == name)
        core::throw_input_error(extra.place(-1, column), "the table has this column already");
    }
    dataset.known_columns.push_back(name);
    const Column read = read_input_column(extra, column, categorical);
    Column& joined = dataset.columns.emplace_back(Column{name, read.numeric, {}, {}});
    for (const size_t row : rows) {
      if (read.numeric) joined.numbers.push_back(read.numbers[row]);
      if (!read.numeric) joined.categories.push_back(read.categories[row]);
    }
  }
}

// Of the image before it was made 1024 x 1024. A side of 0 counts as unknown.
void append_geometry(Dataset& dataset, const CsvTable& table, const std::vector<std::string>& wanted) {
  const auto append = [&](const char* name, const auto& value) {
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) return;
    Column& column = dataset.columns.emplace_back(Column{name, true, {}, {}});
    for (int64_t row = 0; row < table.rows(); ++row) column.numbers.push_back(value(row));
  };
  append("aspect_ratio", [&](int64_t row) {
    const double ratio = table.number(row, kWidth) / table.number(row, kHeight);
    return std::isfinite(ratio) && ratio > 0.0 ? ratio : kUnknown;
  });
  append("pixel_spacing", [&](int64_t row) { return table.number(row, kSpacing); });
}

Dataset read_rows(const CsvTable& table, const NihOptions& options) {
  check_header(table);
  Dataset dataset;
  dataset.name = "nih";
  Column age{"age", true, {}, {}}, follow_up{"follow_up", true, {}, {}};
  Column sex{"sex", false, {}, {}}, view{"view", false, {}, {}};
  dataset.labels.assign(kNihLabels.begin(), kNihLabels.end());
  dataset.targets = core::Tensor::zeros({table.rows(), static_cast<int64_t>(kNihLabels.size())});
  std::unordered_set<std::string> seen;
  for (int64_t row = 0; row < table.rows(); ++row) {
    dataset.ids.push_back(table.required(row, kImage));
    if (!seen.insert(dataset.ids.back()).second) table.reject(row, kImage, "each image once");
    dataset.patients.push_back(table.required(row, kPatient));
    parse_findings(table, row, dataset.targets.data<float>() + row * dataset.targets.size(1));
    age.numbers.push_back(parse_age(table, row));
    sex.categories.push_back(one_of(table, row, kSex, "M", "F"));
    view.categories.push_back(one_of(table, row, kView, "PA", "AP"));
    const bool known = !is_missing(trim(table.cell(row, kFollowUp)));
    follow_up.numbers.push_back(known ? static_cast<double>(table.integer(row, kFollowUp, 0)) : kUnknown);
  }
  dataset.columns = {std::move(age), std::move(sex), std::move(view), std::move(follow_up)};
  for (const Column& column : dataset.columns) dataset.known_columns.push_back(column.name);
  dataset.known_columns.insert(dataset.known_columns.end(), kNihLabels.begin(), kNihLabels.end());
  dataset.known_columns.insert(dataset.known_columns.end(), {"aspect_ratio", "pixel_spacing"});
  append_geometry(dataset, table, options.columns);
  if (!options.extra_table.empty())
    join(dataset, CsvTable::read(options.extra_table, {.limits = options.limits}), options.categorical);
  describe(dataset, options.columns, table.file());
  return dataset;
}

}  // namespace

Dataset read_nih_table(const std::string& file, const NihOptions& options) {
  return read_rows(CsvTable::read(file, {.limits = options.limits}), options);
}

Dataset read_nih(const NihOptions& options) {
  const fs::path root = options.root;
  const CsvTable table = read_table(root, options.limits);
  Dataset dataset = read_rows(table, options);
  FileIndex files;
  if (options.images) {
    files = index_files(image_folders(root));
    if (!options.absent) leave_out_absent(dataset, files, options, table);
  }
  select_labels(dataset, options.labels, options.min_positives, table.file());
  Hasher hasher;
  hasher.add(table.text());
  for (const char* name : {"train_val_list.txt", "test_list.txt"}) {
    const std::string path = find_text_file(root, name);
    if (!path.empty()) hasher.add(read_text_file(path));
  }
  if (!options.extra_table.empty()) hasher.add(read_text_file(options.extra_table));
  if (options.images) dataset.images = find_images(files, dataset, options, hasher);
  dataset.hash = hasher.digest();
  return dataset;
}

}  // namespace medfusion::data
