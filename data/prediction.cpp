#include "data/prediction.h"

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

// Columns that the run does not read need not be there. Rows that are joined to images are found by the
// images' names, whatever the rows are called.
CsvOptions csv_options(const DataOptions& options, const std::string& file, bool images,
                       const std::vector<std::string>& inputs, bool text) {
  const CsvTable table = CsvTable::read(file, options.dialect);
  const auto if_there = [&](const std::string& name) { return table.find_column(name) ? name : ""; };
  CsvOptions csv;
  csv.file = file;
  csv.dialect = options.dialect;
  csv.image_column = if_there(options.image_column);
  csv.id_column = images ? csv.image_column : if_there(options.id_column);
  if (images && csv.id_column.empty())
    csv.id_column = options.id_column.empty() ? options.image_column : options.id_column;
  csv.text_column = text ? options.text_column : "";
  csv.table = inputs;
  csv.categorical = inputs;  // as words, which the encoder reads
  if (inputs.empty()) csv.exclude = table.header();
  csv.keep_constant = true;
  csv.read_images = false;
  return csv;
}

Dataset read_metadata(const DataOptions& options, const std::string& table, bool images,
                      const TableEncoder* encoder, bool text) {
  const std::vector<std::string> inputs =
      encoder == nullptr ? std::vector<std::string>() : encoder->column_names();
  if (options.format == DataFormat::csv)
    return read_csv_folder(csv_options(options, table, images, inputs, text));
  if (options.format != DataFormat::nih && options.format != DataFormat::phantom)
    core::throw_input_error({table}, "data of format {} has no table", core::text_of(options.format));
  NihOptions nih;
  nih.columns = options.table;
  nih.categorical = inputs;  // as words, which the encoder reads
  if (!options.extra_table.empty()) {
    nih.extra_table = (fs::path(table).parent_path() / fs::path(options.extra_table).filename()).string();
  }
  return read_nih_table(table, nih);
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
                        const std::string& table, const TableEncoder* encoder, bool text) {
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
    const Dataset metadata = read_metadata(options, table, !paths.empty(), encoder, text);
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
    std::vector<Column> columns;
    for (const Column& column : metadata.columns) {
      columns.push_back(
          {column.name, column.numeric, pick(column.numbers, rows), pick(column.categories, rows)});
    }
    result.notes = metadata.notes;
    if (encoder != nullptr) result.columns = encoder->as_trained(columns, result.notes);
    result.texts = pick(metadata.texts, rows);
  }
  result.patients = result.ids;
  return result;
}

}  // namespace medfusion::data
