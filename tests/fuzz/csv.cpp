// Tables: CsvTable with each of its typed cells, list files, and the reader of the format "csv". The first
// byte of the input chooses how they are read; the rest is the file.
#include <zlib.h>

#include "data/labels.h"
#include "data/readers/csv_folder.h"
#include "data/readers/text_file.h"
#include "tests/fuzz/fuzz.h"

namespace medfusion::fuzz {
namespace {

void read_cells(const data::CsvTable& table) {
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (int column = 0; column < table.columns(); ++column) {
      accepts([&] { table.required(row, column); });
      accepts([&] { table.integer(row, column, -5); });
      accepts([&] { table.number(row, column); });
      accepts([&] { table.label(row, column, data::Uncertain::refuse); });
      table.category(row, column);
    }
  }
}

void read_table(const std::string& path, uint8_t choice) {
  const data::CsvDialect dialect{static_cast<data::Separator>(choice % 4), {"missing"}};
  accepts([&] {
    const data::CsvTable table = data::CsvTable::read(path, dialect);
    if (table.rows() * table.columns() < 500) read_cells(table);
  });
  accepts([&] { data::read_lines(path); });
}

// Roles of columns by their places, for a table whatever its names.
void read_dataset(const std::string& path, uint8_t choice) {
  data::CsvOptions options;
  options.file = path;
  options.read_images = false;
  options.keep_constant = (choice & 8U) != 0;
  options.uncertain = static_cast<data::Uncertain>(choice / 16 % 5);
  options.decimal = static_cast<data::DecimalMark>(choice % 3);
  accepts([&] {
    const data::CsvTable table = data::CsvTable::read(path);
    const std::vector<std::string>& header = table.header();
    const auto name = [&](size_t place) { return place < header.size() ? header[place] : ""; };
    if ((choice & 1U) != 0) {
      options.class_column = name(0);
    } else {
      options.labels = {name(0)};
      options.blank = data::BlankLabel::negative;
    }
    if ((choice & 2U) != 0) options.text_column = name(1);
    if ((choice & 4U) != 0) options.id_column = name(2);
    data::read_csv_folder(options);
  });
}

Bytes compressed(std::span<const uint8_t> bytes) {
  z_stream stream{};
  Bytes result(bytes.size() + 256);
  deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = const_cast<uint8_t*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = result.data();
  stream.avail_out = static_cast<uInt>(result.size());
  deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

}  // namespace
}  // namespace medfusion::fuzz

using medfusion::fuzz::Bytes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string& path = medfusion::fuzz::file_of({data + 1, size - 1});
  if ((data[0] & 0x80U) != 0) {
    medfusion::fuzz::read_table(path, data[0]);
  } else {
    medfusion::fuzz::read_dataset(path, data[0]);
  }
  return 0;
}

// Now and then the file is compressed by gzip, which has a checksum.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  medfusion::fuzz::Choices choices(seed);
  if (size < 2 || data[1] == 0x1F || !choices.one_in(100)) return LLVMFuzzerMutate(data, size, limit);
  Bytes bytes = medfusion::fuzz::compressed({data + 1, size - 1});
  bytes.insert(bytes.begin(), data[0]);
  return medfusion::fuzz::stored(bytes, data, size, limit);
}
