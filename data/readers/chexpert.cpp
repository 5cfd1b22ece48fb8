#include "data/readers/chexpert.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <unordered_set>

#include "data/readers/file_images.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kChexpertPath = "Path";
constexpr const char* kChexpertAge = "Age";
constexpr std::array kChexpertCategories{"Sex", "Frontal/Lateral", "AP/PA"};

// The columns that are no input, no path and have a name.
std::vector<std::string> observations_of(const CsvTable& table) {
  std::vector<std::string> names;
  for (const std::string& name : table.header()) {
    const bool input =
        name == kChexpertAge ||
        std::find(kChexpertCategories.begin(), kChexpertCategories.end(), name) != kChexpertCategories.end();
    if (!input && !name.empty() && name != kChexpertPath) names.push_back(name);
  }
  if (names.empty())
    core::throw_input_error({table.file(), 1}, "expected a column per observation, got none");
  return names;
}

// What the reader collects over its files.
class ChexpertRows {
 public:
  ChexpertRows(const ChexpertOptions& options, Dataset& dataset) : options_(options), dataset_(dataset) {
    const Uncertain uncertain = options.uncertain;
    uncertain_ = uncertain == Uncertain::automatic ? Uncertain::unknown : uncertain;
    dataset.columns.push_back({kChexpertAge, true, {}, {}});
    for (const char* name : kChexpertCategories) dataset.columns.push_back({name, false, {}, {}});
  }

  void add(const CsvTable& table, const char* part) {
    const int path = table.column(kChexpertPath);
    if (dataset_.labels.empty()) {
      dataset_.labels = observations_of(table);
      dataset_.known_columns = table.header();
    }
    std::vector<int> labels;
    for (const std::string& name : dataset_.labels) labels.push_back(table.column(name));
    for (int64_t row = 0; row < table.rows(); ++row) {
      const std::string id = table.required(row, path);
      if (!seen_.insert(id).second) table.reject(row, path, "each image once");
      dataset_.ids.push_back(id);
      dataset_.patients.push_back(patient_of(table, row, path));
      dataset_.parts.emplace_back(part);
      for (const int column : labels) targets_.push_back(target(table, row, column));
      add_inputs(table, row);
    }
  }

  void finish() {
    const auto labels = static_cast<int64_t>(dataset_.labels.size());
    dataset_.targets = core::Tensor::empty({dataset_.size(), labels});
    std::copy(targets_.begin(), targets_.end(), dataset_.targets.data<float>());
    if (uncertain_cells_ + blank_cells_ == 0) return;
    dataset_.notes.push_back(fmt::format(
        "labels: -1 in {} cells is read as {} (data.uncertain), nothing in {} cells as {} (data.blank)",
        uncertain_cells_, core::text_of(uncertain_), blank_cells_,
        blank_is_negative() ? "negative" : "unknown"));
  }

 private:
  bool blank_is_negative() const { return options_.blank != BlankLabel::unknown; }

  float target(const CsvTable& table, int64_t row, int column) {
    const std::string_view cell = table.known(row, column);
    if (cell.empty()) {
      ++blank_cells_;
      return blank_is_negative() ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    }
    if (parse_number(cell) == -1.0) {
      ++uncertain_cells_;
      if (uncertain_ == Uncertain::refuse) {
        core::throw_input_error(
            table.place(row, column),
            "label '{}' is -1; expected 0, 1 or nothing, or data.uncertain = \"unknown\", "
            "\"negative\" or \"positive\"",
            table.header()[static_cast<size_t>(column)]);
      }
    }
    return table.label(row, column, uncertain_);
  }

  static std::string patient_of(const CsvTable& table, int64_t row, int column) {
    for (const fs::path& folder : fs::path(table.category(row, column)).parent_path()) {
      if (folder.string().starts_with("patient")) return folder.string();
    }
    table.reject(row, column, "a path with a folder patient...");
  }

  void add_inputs(const CsvTable& table, int64_t row) {
    const auto age = table.find_column(kChexpertAge);
    dataset_.columns[0].numbers.push_back(age ? table.number(row, *age)
                                              : std::numeric_limits<double>::quiet_NaN());
    for (size_t i = 0; i < kChexpertCategories.size(); ++i) {
      const auto column = table.find_column(kChexpertCategories[i]);
      std::string cell = column ? table.category(row, *column) : "";
      dataset_.columns[i + 1].categories.push_back(cell == "Unknown" ? "" : std::move(cell));
    }
  }

  const ChexpertOptions& options_;
  Dataset& dataset_;
  Uncertain uncertain_;
  std::unordered_set<std::string> seen_;
  std::vector<float> targets_;
  int64_t uncertain_cells_ = 0, blank_cells_ = 0;
};

// Path begins with the name of the download, which is ROOT itself.
fs::path image_file(const fs::path& root, const std::string& id) {
  const size_t slash = id.find('/');
  fs::path whole = root / id;
  if (slash == std::string::npos || fs::is_directory(root / id.substr(0, slash))) return whole;
  return root / id.substr(slash + 1);
}

// The images of the rows of `table`, which are the last of the dataset.
void find_chexpert_images(const ChexpertOptions& options, const CsvTable& table, const Dataset& dataset,
                          std::vector<std::string>& paths, Hasher& hasher) {
  const int64_t first = dataset.size() - table.rows();
  for (int64_t row = 0; row < table.rows(); ++row) {
    const std::string& id = dataset.ids[static_cast<size_t>(first + row)];
    paths.push_back(image_file(options.root, id).string());
    std::error_code error;
    const auto size = fs::file_size(paths.back(), error);
    if (error && options.on_error == OnError::fail) {
      core::throw_input_error(table.place(row, table.column(kChexpertPath)),
                              "expected the image as {}, got no such file", paths.back());
    }
    hasher.add(id);
    hasher.add(static_cast<int64_t>(size));
  }
}

}  // namespace

Dataset read_chexpert(const ChexpertOptions& options) {
  const fs::path root = options.root;
  if (!fs::is_directory(root))
    core::throw_input_error({options.root}, "expected a folder in CheXpert's layout, got none");
  const bool has_test = !find_text_file(root, "test.csv").empty();
  Dataset dataset;
  dataset.name = "chexpert";
  ChexpertRows rows(options, dataset);
  Hasher hasher;
  std::vector<std::string> paths;
  for (const auto& [name, part] :
       {std::pair{"train.csv", "train"}, std::pair{"valid.csv", has_test ? "val" : "test"},
        std::pair{"test.csv", "test"}}) {
    const std::string file = find_text_file(root, name);
    if (file.empty() && std::string_view(name) == "test.csv") continue;
    if (file.empty())
      core::throw_input_error({(root / name).string()}, "expected this table, got no such file");
    const CsvTable table = CsvTable::read(file, {.limits = options.limits});
    rows.add(table, part);
    hasher.add(table.text());
    if (options.images) find_chexpert_images(options, table, dataset, paths, hasher);
  }
  if (dataset.size() == 0) core::throw_input_error({options.root}, "expected at least one row, got none");
  rows.finish();
  if (!has_test) dataset.notes.emplace_back("valid.csv is the test part, for there is no test.csv");
  if (options.images)
    dataset.images = std::make_shared<FileImages>(std::move(paths), options.limits.image_pixels);
  dataset.hash = hasher.digest();
  return dataset;
}

}  // namespace medfusion::data
