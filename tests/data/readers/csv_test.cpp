#include "data/readers/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>

#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> row_of(const CsvTable& table, int64_t row) {
  std::vector<std::string> cells;
  for (int i = 0; i < table.columns(); ++i) cells.push_back(table.cell(row, i));
  return cells;
}

TEST(Csv, ReadsQuotesCommasAndLineEndsInsideCells) {
  const CsvTable table = CsvTable::parse("a,b\n\"x,y\",\"say \"\"hi\"\"\"\n\"two\r\nlines\",\n", "t.csv");
  EXPECT_EQ(table.rows(), 2);
  EXPECT_THAT(table.header(), ElementsAre("a", "b"));
  EXPECT_THAT(row_of(table, 0), ElementsAre("x,y", "say \"hi\""));
  EXPECT_THAT(row_of(table, 1), ElementsAre("two\r\nlines", ""));
}

TEST(Csv, AcceptsEveryLineEndAByteOrderMarkAndNoLastLineEnd) {
  for (const char* text : {"\xEF\xBB\xBF"
                           "a,b\r\n1,2\r\n3,4",
                           "a,b\n1,2\n\n3,4\n\n", "a,b\r1,2\r3,4\r"}) {
    const CsvTable table = CsvTable::parse(text, "t.csv");
    EXPECT_EQ(table.rows(), 2) << text;
    EXPECT_THAT(table.header(), ElementsAre("a", "b"));
    EXPECT_THAT(row_of(table, 1), ElementsAre("3", "4"));
  }
}

TEST(Csv, PlacesCountLinesAndCharacters) {
  const CsvTable table = CsvTable::parse(
      "\xEF\xBB\xBF"
      "a,b\r\n\"1\n2\",x\r\n\xC3\xA4\xC3\xB6,y\r\n",
      "t.csv");
  EXPECT_EQ(table.place(-1, 1).column, 3);
  EXPECT_EQ(table.place(-1, 1).line, 1);
  EXPECT_EQ(table.place(0, 0).line, 2);
  EXPECT_EQ(table.place(0, 1).line, 3);  // after the line end inside the quotes
  EXPECT_EQ(table.place(0, 1).column, 4);
  EXPECT_EQ(table.place(1, 1).line, 4);
  EXPECT_EQ(table.place(1, 1).column, 4);  // two letters of two bytes each, one comma
}

TEST(Csv, BrokenFilesSayWhere) {
  const auto message = [](const std::string& text) {
    return input_error([&] { CsvTable::parse(text, "t.csv"); });
  };
  EXPECT_EQ(message("a,b\n1,2\n1,2,3\n"), "t.csv:3:1: expected 2 cells as in the header, got 3");
  EXPECT_EQ(message("a,b\n1,\"2\n3,4\n"), "t.csv:2:3: expected a closing quote, got the end of the file");
  EXPECT_EQ(message("a,b\n1,\"2\"x\n"), "t.csv:2:6: expected a comma or a line end after the closing quote");
  EXPECT_EQ(message("a,b\n1,2\"\n"), "t.csv:2:4: expected the whole cell in quotes, got a quote inside it");
  EXPECT_EQ(message("a,b,a\n"), "t.csv:1:5: expected each column once, got 'a' again");
  EXPECT_EQ(message(""), "t.csv:1: expected a header, got an empty file");
  EXPECT_EQ(message(std::string("a\0b", 3)), "t.csv:1:2: expected UTF-8 text, got a zero byte");
}

TEST(Csv, OnlyWellFormedUtf8IsAccepted) {
  const auto message = [](const std::string& cell) {
    return input_error([&] { CsvTable::parse("a\nxy" + cell, "t.csv"); });
  };
  for (const char* valid :
       {"\xC3\xA9", "\xE2\x82\xAC", "\xED\x9F\xBF", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(CsvTable::parse(std::string("a\n") + valid, "t.csv").cell(0, 0), valid);
  }
  EXPECT_EQ(message("\xE9"), "t.csv:2:3: expected UTF-8 text, got the byte 0xe9");  // Latin-1
  // A lone continuation, overlong forms, a surrogate, past the last code point, cut short.
  for (const char* invalid :
       {"\x80", "\xC0\x80", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xE2\x82", "\xE2\x82x", "\xC3", "\xFF"}) {
    EXPECT_THAT(message(invalid), HasSubstr("t.csv:2:3: expected UTF-8 text"));
  }
}

TEST(Csv, TypedCellsNameTheirPlaceAndWhatWasExpected) {
  const CsvTable table = CsvTable::parse("n,l,c\n 2.5 ,1, x \n?,-1,NA\nabc,2,\ninf,1.0,b\n7,,b\n", "t.csv");
  EXPECT_EQ(table.number(0, 0), 2.5);
  EXPECT_TRUE(std::isnan(table.number(1, 0)));
  EXPECT_EQ(table.integer(4, 0), 7);
  EXPECT_EQ(table.label(0, 1), 1.0F);
  EXPECT_EQ(table.label(3, 1), 1.0F);
  EXPECT_TRUE(std::isnan(table.label(1, 1)));
  EXPECT_TRUE(std::isnan(table.label(4, 1)));
  EXPECT_EQ(table.category(0, 2), "x");
  EXPECT_EQ(table.category(1, 2), "");
  EXPECT_EQ(input_error([&] { table.number(2, 0); }),
            "t.csv:4:1: expected a number in column 'n', got 'abc'");
  EXPECT_EQ(input_error([&] { table.number(3, 0); }),
            "t.csv:5:1: expected a number in column 'n', got 'inf'");
  EXPECT_EQ(input_error([&] { table.label(2, 1); }),
            "t.csv:4:5: expected 0, 1, -1, true, false, yes, no or nothing in column 'l', got '2'");
  EXPECT_EQ(input_error([&] { table.required(2, 2); }), "t.csv:4:7: expected a value in column 'c', got ''");
  EXPECT_EQ(input_error([&] { table.integer(4, 0, 0, 4); }),
            "t.csv:6:1: expected a whole number of at least 0 and at most 4 in column 'n', got '7'");
}

TEST(Csv, UnknownColumnsNameTheNearest) {
  const CsvTable table = CsvTable::parse("Patient Age,Patient Sex\n", "t.csv");
  EXPECT_EQ(table.column("Patient Sex"), 1);
  EXPECT_EQ(input_error([&] { table.column("patient age"); }),
            "t.csv:1: no column 'patient age'; did you mean 'Patient Age'?");
  EXPECT_EQ(input_error([&] { table.column("weight"); }), "t.csv:1: no column 'weight'");
}

TEST(Csv, ReadsGzipFilesAndReportsTruncatedOnes) {
  const TemporaryFolder folder;
  std::string text = "a,b\n";
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919 % 10007) + "," + std::to_string(i) + "\n";
  const std::string path = folder.path("t.csv.gz");
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  const CsvTable table = CsvTable::read(path);
  EXPECT_EQ(table.text(), text);
  EXPECT_EQ(table.rows(), 5000);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_EQ(input_error([&] { CsvTable::read(path); }), path + ": the gzip file is cut short");
}

TEST(Csv, MissingFilesAndFoldersAreNamed) {
  const TemporaryFolder folder;
  EXPECT_EQ(input_error([&] { CsvTable::read(folder.path("none.csv")); }),
            folder.path("none.csv") + ": cannot open: No such file or directory");
  EXPECT_EQ(input_error([&] { CsvTable::read(folder.path()); }),
            folder.path() + ": expected a file, got a folder");
}

}  // namespace
}  // namespace medfusion::data
