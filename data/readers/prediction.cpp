#include "data/readers/prediction.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "data/readers/csv.h"
#include "data/readers/csv_folder.h"
#include "data/readers/file_images.h"
#include "data/readers/nih.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

std::vector<std::string> list_images(const std::vector<std::string>& given) {
  std::vector<std::string> paths;
  for (const std::string& path : given) {
    if (!fs::exists(path))
      core::throw_input_error({path}, "expected an image or a folder of images, got no such file");
    if (!fs::is_directory(path)) {
      paths.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.is_regular_file() && is_image_name(entry.path())) inside.push_back(entry.path().string());
    }
    if (inside.empty())
      core::throw_input_error({path}, "expected PNG or JPEG files in this folder, got none");
    std::sort(inside.begin(), inside.end());
    paths.insert(paths.end(), inside.begin(), inside.end());
  }
  return paths;
}

// With `images`, ids that are the names of the images where the table has them.
Dataset read_metadata(const DataOptions& options, const std::string& table, bool images) {
  Dataset dataset;
  if (options.format == DataFormat::csv) {
    CsvOptions csv;
    csv.file = table;
    // Images are found by their names, whatever the rows are called.
    const bool by_image =
        images && !options.image_column.empty() && CsvTable::read(table).find_column(options.image_column);
    csv.id_column = by_image ? options.image_column : options.id_column;
    csv.patient_column = options.patient_column;
    csv.image_column = options.image_column;
    csv.text_column = options.text_column;
    csv.table = options.table;
    csv.categorical = options.categorical_columns;
    csv.keep_constant = true;
    csv.read_images = false;
    dataset = read_csv_folder(csv);
  } else if (options.format == DataFormat::nih || options.format == DataFormat::phantom) {
    NihOptions nih;
    nih.columns = options.table;
    nih.categorical = options.categorical_columns;
    if (!options.extra_table.empty()) {
      nih.extra_table = (fs::path(table).parent_path() / fs::path(options.extra_table).filename()).string();
    }
    dataset = read_nih_table(table, nih);
  } else {
    core::throw_input_error({table}, "data of format {} has no table", core::text_of(options.format));
  }
  return dataset;
}

// `values` in the order of `rows`.
template <class T>
std::vector<T> pick(const std::vector<T>& values, const std::vector<size_t>& rows) {
  std::vector<T> result;
  if (values.empty()) return result;
  result.reserve(rows.size());
  for (const size_t row : rows) result.push_back(values[row]);
  return result;
}

}  // namespace

Dataset rows_to_predict(const DataOptions& options, const std::vector<std::string>& images,
                        const std::string& table) {
  Dataset result;
  result.name = core::text_of(options.format);
  const std::vector<std::string> paths = list_images(images);
  std::unordered_set<std::string> seen;
  for (const std::string& path : paths) {
    result.ids.push_back(fs::path(path).filename().string());
    if (!seen.insert(result.ids.back()).second) {
      core::throw_input_error({path}, "expected images of different file names, got this name twice");
    }
  }
  if (!paths.empty()) result.images = std::make_shared<FileImages>(paths);
  if (!table.empty()) {
    const Dataset metadata = read_metadata(options, table, !paths.empty());
    if (paths.empty()) {
      result.ids = metadata.ids;
      result.images = std::make_shared<FileImages>(std::vector<std::string>(metadata.ids.size()));
    }
    std::unordered_map<std::string, size_t> row_of;
    for (size_t row = 0; row < metadata.ids.size(); ++row) {
      const std::string& id = metadata.ids[row];
      const std::string name = paths.empty() ? id : fs::path(id).filename().string();
      if (!row_of.emplace(name, row).second)
        core::throw_input_error({table}, "expected one row for image {}, got two", name);
    }
    std::vector<size_t> rows;
    for (const std::string& id : result.ids) {
      const auto found = row_of.find(id);
      if (found == row_of.end())
        core::throw_input_error({table}, "expected a row for image {}, got none", id);
      rows.push_back(found->second);
    }
    for (const Column& column : metadata.columns) {
      result.columns.push_back(
          {column.name, column.numeric, pick(column.numbers, rows), pick(column.categories, rows)});
    }
    result.texts = pick(metadata.texts, rows);
  }
  result.patients = result.ids;
  return result;
}

}  // namespace medfusion::data
