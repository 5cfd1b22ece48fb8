#include "data/prediction.h"

#include <filesystem>
#include <limits>
#include <numeric>

#include "data/image_rows.h"
#include "data/readers/csv.h"
#include "data/readers/csv_folder.h"
#include "data/readers/file_images.h"
#include "data/readers/nih.h"
#include "data/unreadable.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

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
  csv.group_images = if_there(options.group_images);
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
  if (options.format == DataFormat::chexpert) {
    DataOptions by_path = options;
    by_path.image_column = "Path";
    by_path.dialect.missing.emplace_back("Unknown");  // as read_chexpert() reads the column Sex
    return read_csv_folder(csv_options(by_path, table, images, inputs, text));
  }
  if (options.format != DataFormat::nih && options.format != DataFormat::phantom)
    core::throw_input_error({table}, "data of format {} has no table", core::text_of(options.format));
  NihOptions nih;
  nih.limits = options.dialect.limits;
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
  const std::vector<NamedImage> found = list_images(images, result.notes);
  std::vector<std::string> paths;
  for (const NamedImage& image : found) {
    paths.push_back(image.path);
    result.ids.push_back(image.id);
  }
  if (!paths.empty())
    result.images = std::make_shared<FileImages>(paths, options.dialect.limits.image_pixels);
  if (!table.empty()) {
    const Dataset metadata = read_metadata(options, table, !paths.empty(), encoder, text);
    result.notes.insert(result.notes.end(), metadata.notes.begin(), metadata.notes.end());
    std::vector<size_t> rows(metadata.ids.size());
    std::iota(rows.begin(), rows.end(), size_t{0});
    if (paths.empty()) {
      result.ids = metadata.ids;
      result.images = std::make_shared<FileImages>(std::vector<std::string>(metadata.ids.size()));
    } else {
      rows = rows_of_images(found, metadata.ids, table, result.notes);
    }
    std::vector<Column> columns;
    for (const Column& column : metadata.columns) {
      columns.push_back(
          {column.name, column.numeric, pick(column.numbers, rows), pick(column.categories, rows)});
    }
    if (encoder != nullptr) result.columns = encoder->as_trained(columns, result.notes);
    result.texts = pick(metadata.texts, rows);
    result.image_groups = pick(metadata.image_groups, rows);
  }
  if (!options.group_images.empty() && !paths.empty() && result.image_groups.empty())
    result.notes.push_back(fmt::format("without the column {} (data.group_images) each image is read alone",
                                       options.group_images));
  result.patients = result.ids;
  if (options.on_error == OnError::skip) skip_unreadable(result);
  return result;
}

}  // namespace medfusion::data
