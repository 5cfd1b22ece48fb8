// How much tables and arrays may hold: from both sides of each limit.
#include "data/readers/file_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include "data/readers/csv.h"
#include "data/readers/npz.h"
#include "data/readers/text_file.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

CsvDialect with_lines(int64_t bytes) {
  CsvDialect dialect;
  dialect.limits.line_bytes = bytes;
  return dialect;
}

TEST(FileLimits, LinesOfATable) {
  const std::string text = "a,b\n1,0123456789\n2,3\n";  // its longest line has 13 bytes with its end
  EXPECT_EQ(CsvTable::parse(text, "t.csv", with_lines(13)).rows(), 2);
  EXPECT_EQ(input_error([&] { CsvTable::parse(text, "t.csv", with_lines(12)); }),
            "t.csv:2: expected lines of at most 12 bytes (data.max_line_bytes), got 13");
  EXPECT_THAT(input_error([] { CsvTable::parse("a\n" + std::string(10'000'000, 'x'), "t.csv"); }),
              HasSubstr("t.csv:2: expected lines of at most 1048576 bytes"));
}

TEST(FileLimits, BytesOfAText) {
  const TemporaryFolder folder;
  const std::string path = folder.write("t.txt", std::string(1000, 'x'));
  EXPECT_EQ(read_text_file(path, 1000).size(), 1000U);
  EXPECT_THAT(input_error([&] { read_text_file(path, 999); }),
              HasSubstr("(data.max_table_megabytes), got more"));
  // A device without an end.
  EXPECT_THAT(input_error([] { read_text_file("/dev/zero", 1 << 20); }), HasSubstr("at most 1 MiB of text"));
}

TEST(FileLimits, TablesThatAreSomethingElse) {
  const auto message = [](const std::string& text) {
    return input_error([&] { CsvTable::parse(text, "t.csv"); });
  };
  EXPECT_THAT(message("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
              StartsWith("t.csv: expected a table as CSV, got a git-lfs pointer"));
  EXPECT_THAT(message("<html><body>404</body></html>"), HasSubstr("got an HTML page"));
  EXPECT_THAT(message("PK\x03\x04 and more"), HasSubstr("got a zip archive, as an Excel workbook is"));
  EXPECT_THAT(message(std::string("\xFF\xFE"
                                  "a\0,\0",
                                  6)),
              HasSubstr("got UTF-16 text; save it as UTF-8"));
  EXPECT_THAT(message(std::string("\xFE\xFF\0a", 4)), HasSubstr("got UTF-16 text; save it as UTF-8"));
}

// An archive of one array of zeros, well packed.
std::string npz_of(const TemporaryFolder& folder, size_t bytes) {
  const std::string path = folder.path("a.npz");
  std::string header = fmt::format("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}", bytes);
  header.resize(117, ' ');
  header += '\n';
  const std::string array = std::string("\x93NUMPY\x01\0\x76\0", 10) + header + std::string(bytes, '\0');
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  zip_file_add(zip, "x.npy", zip_source_buffer(zip, array.data(), array.size(), 0), ZIP_FL_OVERWRITE);
  EXPECT_EQ(zip_close(zip), 0);
  return path;
}

TEST(FileLimits, BytesOfAnArray) {
  const TemporaryFolder folder;
  const std::string path = npz_of(folder, 1'000'000);
  const auto whole = static_cast<int64_t>(1'000'000 + 128);
  EXPECT_EQ(NpzFile(path, whole).read("x").numel(), 1'000'000);
  EXPECT_THAT(input_error([&] { NpzFile(path, whole - 1).read("x"); }),
              HasSubstr("(data.max_array_megabytes), got 1000128 bytes"));
}

// The directory of the archive claims more than its bytes can be unpacked to.
TEST(FileLimits, AnArrayLargerThanItsBytesCanHold) {
  const TemporaryFolder folder;
  const std::string path = npz_of(folder, 1'000'000);
  std::ifstream stream(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const size_t entry = bytes.find("PK\x01\x02");
  ASSERT_NE(entry, std::string::npos);
  bytes.replace(entry + 24, 4, std::string("\0\0\0\x7F", 4));  // the size, little-endian
  EXPECT_THAT(input_error([&] { NpzFile(folder.write("b.npz", bytes)).read("x"); }),
              HasSubstr("bytes cannot hold an array of 2130706432"));
}

TEST(FileLimits, ArchivesThatAreSomethingElse) {
  const TemporaryFolder folder;
  EXPECT_THAT(input_error([&] { NpzFile(folder.write("a.npz", "<html>")); }),
              HasSubstr("expected an .npz archive, got an HTML page"));
  EXPECT_THAT(
      input_error([&] { NpzFile(folder.write("b.npz", "version https://git-lfs.github.com/spec/v1\n")); }),
      HasSubstr("expected an .npz archive, got a git-lfs pointer"));
}

}  // namespace
}  // namespace medfusion::data
