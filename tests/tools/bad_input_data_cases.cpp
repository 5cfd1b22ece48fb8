// Rows of the bad-input table: images, tables and arrays.
#include <zip.h>

#include "tests/data/png_bytes.h"
#include "tests/tools/bad_input_table.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using data::black_png;
using data::deflated;
using data::png_of;

const std::string kPredictImage = "predict run --images x.png";
const std::string kShowTable = "data csv.toml";
const std::string kShowArray = "data npz.toml";
const std::string kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
const std::string kNoImage = "x.png: expected a PNG or JPEG image, got ";
const std::string kNoTable = "set/table.csv: expected a table as CSV, got ";

BadInputCase image_case(const std::string& name, const std::string& made, const std::string& bytes,
                        const std::string& message) {
  return {name, made, kPredictImage, 2, message, file_of("x.png", bytes)};
}

BadInputCase table_case(const std::string& name, const std::string& made, const std::string& bytes,
                        const std::string& message) {
  return {name, made, kShowTable, 2, message, file_of("set/table.csv", bytes)};
}

// A gray JPEG whose frame says 60000 x 60000.
std::string huge_jpeg() {
  const std::string no_codes(16, '\0');  // of each length
  return std::string("\xFF\xD8\xFF\xDB\x00\x43\x00", 7) + std::string(64, '\1') +
         std::string("\xFF\xC0\x00\x0B\x08\xEA\x60\xEA\x60\x01\x01\x11\x00", 13) +
         std::string("\xFF\xC4\x00\x13\x00", 5) + no_codes + std::string("\xFF\xC4\x00\x13\x10", 5) +
         no_codes + std::string("\xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00", 10) + repeated("\x55", 100) +
         "\xFF\xD9";
}

std::string fixture_bytes(const std::string& name) {
  return contents(fs::path(MEDFUSION_SOURCE_DIR) / "tests/fixtures/images" / name);
}

std::string flipped(std::string bytes, size_t at) {
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  return bytes;
}

// Replaces the array train_images.npy of chest.npz.
void replace_array(const fs::path& folder, const std::string& array) {
  int code = 0;
  zip_t* zip = zip_open((folder / "set/chest.npz").c_str(), 0, &code);
  zip_file_add(zip, "train_images.npy", zip_source_buffer(zip, array.data(), array.size(), 0),
               ZIP_FL_OVERWRITE);
  if (zip_close(zip) != 0) throw std::runtime_error("the archive cannot be written");
}

std::string array_of(const std::string& type, const std::string& shape, size_t bytes) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize(117, ' ');
  return std::string("\x93NUMPY\x01\0\x76\0", 10) + header + "\n" + std::string(bytes, '\0');
}

}  // namespace

std::vector<BadInputCase> image_cases() {
  const std::string png = black_png(40, 30);
  return {
      image_case("a file of no bytes", "`x.png`: nothing", "", kNoImage + "an empty file"),
      image_case("a file of zeros", "`x.png`: 1000 zero bytes, as a crash leaves them",
                 std::string(1000, '\0'), kNoImage + "a file of zero bytes"),
      image_case("a git-lfs pointer", "`x.png`: the three lines of a pointer", kPointer,
                 kNoImage + "a git-lfs pointer; git lfs pull fetches the file"),
      image_case("a git-annex pointer", "`x.png`: `/annex/objects/` and a key",
                 "/annex/objects/SHA256E-s12--ab.png\n",
                 kNoImage + "a git-annex pointer; git annex get fetches the file"),
      image_case("an HTML page", "`x.png`: a page that says 404", "<!DOCTYPE html>\n<title>404</title>\n",
                 kNoImage + "an HTML page, such as servers send in place of a file"),
      image_case("an XML text", "`x.png`: AccessDenied of a store", "<?xml version=\"1.0\"?>\n<Error/>\n",
                 kNoImage + "an XML text, such as servers send in place of a file"),
      image_case("a JSON text", "`x.png`: an error of a server", "{\"error\": \"not found\"}\n",
                 kNoImage + "a JSON text, such as servers send in place of a file"),
      image_case("a DICOM file", "`x.png`: 128 bytes and `DICM`", std::string(128, '\0') + "DICM",
                 kNoImage + "a DICOM file"),
      image_case("a TIFF image", "`x.png`: the first bytes of a TIFF", std::string("II*\0\x08\0\0\0", 8),
                 kNoImage + "a TIFF image"),
      image_case("a GIF image", "`x.png`: the first bytes of a GIF", "GIF89a", kNoImage + "a GIF image"),
      image_case("words", "`x.png`: a line of text", "not an image\n", kNoImage + "another format"),
      image_case("a PNG cut short", "a PNG without its last 20 bytes", png.substr(0, png.size() - 20),
                 "x.png: truncated PNG: the file ends after ... bytes, its IDAT chunk at byte 33 needs ..."),
      image_case("a damaged PNG", "one bit of its pixels flipped", flipped(png, png.size() - 20),
                 "x.png: damaged PNG: wrong checksum of its IDAT chunk at byte 33"),
      image_case("a JPEG cut short", "the first half of a JPEG",
                 fixture_bytes("gray.jpg").substr(0, fixture_bytes("gray.jpg").size() / 2),
                 "x.png: truncated JPEG: the file ends after ... bytes, before the end-of-image marker"),
      image_case(
          "a PNG of a huge size", "its header says 60000 x 60000", png_of(60000, 60000, deflated("00")),
          "x.png: expected an image of at most 100000000 pixels (data.max_image_pixels), its header says "
          "60000 "
          "x 60000"),
      image_case(
          "a JPEG of a huge size", "its header says 60000 x 60000", huge_jpeg(),
          "x.png: expected an image of at most 100000000 pixels (data.max_image_pixels), its header says "
          "60000 "
          "x 60000"),
      image_case("a PNG that lies", "its header says 3000 x 3000, of which it has 10 bytes",
                 png_of(3000, 3000, deflated("00")),
                 "x.png: damaged image: its header says 3000 x 3000, which 10 bytes cannot hold"),
      {"a decompression bomb", "a PNG of 1 x 1 whose pixels unpack to 50 MB; the run allows 2000 pixels",
       kPredictImage, 2, "x.png: damaged PNG: its pixels unpack to more than an image of 1 x 1 holds",
       [](const fs::path& folder) {
         write(folder / "x.png", png_of(1, 1, deflated(std::string(50'000'000, '\0'))));
         replace_text(folder / "run/config.toml", "max_image_pixels = 100000000", "max_image_pixels = 2000");
       }},
      {"one pixel more than is allowed", "an image of 2001 x 1; the run allows 2000 pixels", kPredictImage, 2,
       "x.png: expected an image of at most 2000 pixels (data.max_image_pixels), its header says 2001 x 1",
       [](const fs::path& folder) {
         write(folder / "x.png", black_png(2001, 1));
         replace_text(folder / "run/config.toml", "max_image_pixels = 100000000", "max_image_pixels = 2000");
       }},
      {"no such image", "nothing is there", kPredictImage, 2,
       "x.png: expected an image or a folder of images, got no such file", [](const fs::path&) {}},
      {"a folder without images", "an empty folder", "predict run --images x", 2,
       "x: expected PNG or JPEG files in this folder, got none",
       [](const fs::path& folder) { fs::create_directory(folder / "x"); }},
  };
}

std::vector<BadInputCase> table_cases() {
  return {
      table_case("a table of no bytes", "`table.csv`: nothing", "",
                 "set/table.csv:1: expected a header, got an empty file"),
      table_case("a table of zeros", "`table.csv`: 1000 zero bytes", std::string(1000, '\0'),
                 kNoTable + "a file of zero bytes"),
      table_case("a zero byte in a cell", "a cell holds `a`, a zero byte and `b`",
                 std::string("image,sick,age\n0.png,1,a\0b\n", 27),
                 "set/table.csv:2:10: expected UTF-8 text, got a zero byte"),
      table_case("UTF-16", "the table as UTF-16 with a byte order mark", std::string("\xFF\xFEi\0,\0", 6),
                 kNoTable + "UTF-16 text; save it as UTF-8"),
      table_case("Latin-1", "a cell holds the byte 0xE4", "image,sick,age\n0.png,1,\xE4\n",
                 "set/table.csv:2:9: expected UTF-8 text, got the byte 0xe4"),
      table_case("an HTML page for a table", "a page that says 404", "<html>404</html>\n",
                 kNoTable + "an HTML page, such as servers send in place of a file"),
      table_case("a git-lfs pointer for a table", "the three lines of a pointer", kPointer,
                 kNoTable + "a git-lfs pointer; git lfs pull fetches the file"),
      table_case("an Excel workbook", "the first bytes of a zip archive", "PK\x03\x04workbook",
                 kNoTable + "a zip archive, as an Excel workbook is"),
      table_case(
          "a line of 10 MB", "a cell of 10,000,000 letters",
          "image,sick,age\n0.png,1," + std::string(10'000'000, 'x') + "\n",
          "set/table.csv:2: expected lines of at most 1048576 bytes (data.max_line_bytes), got 10000009"),
      table_case("a quote that is not closed", "a cell begins with a quote", "image,sick,age\n0.png,1,\"3\n",
                 "set/table.csv:2:9: expected a closing quote, got the end of the file"),
      table_case("a row too long", "four cells under three columns", "image,sick,age\n0.png,1,3,4\n",
                 "set/table.csv:2:1: expected 3 cells as in the header, got 4"),
      table_case("a column twice", "two columns `age`", "image,sick,age,age\n0.png,1,3,4\n",
                 "set/table.csv:1:16: expected each column once, got 'age' again"),
      table_case("a header alone", "no row", "image,sick,age\n",
                 "set/table.csv:2: expected at least one row after the header"),
      table_case("a label that is a word", "`maybe` in the column of the label",
                 "image,sick,age\n0.png,maybe,3\n",
                 "set/table.csv:2:7: expected 0, 1, -1, true, false, yes, no or nothing in column 'sick', "
                 "got 'maybe'"),
      table_case("an id twice", "two rows of one image", "image,sick,age\n0.png,1,3\n0.png,0,4\n",
                 "set/table.csv:3:1: expected each id once in column 'image', got '0.png'"),
      table_case("an image that is not there", "a row names 99.png", "image,sick,age\n99.png,1,3\n",
                 "set/table.csv:2:1: expected the image as set/photo/99.png, got no such file"),
      {"a gzip file cut short", "half of a packed table", kShowTable, 2,
       "set/table.csv: the gzip file is cut short",
       [](const fs::path& folder) {
         const std::string text = contents(folder / "set/table.csv");
         gzFile file = gzopen((folder / "set/table.csv").c_str(), "wb");
         gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
         gzclose(file);
         cut_of("set/table.csv", 0.5)(folder);
       }},
      {"a table larger than is allowed", "1.2 MB; the configuration allows 1 MiB",
       kShowTable + " --set data.max_table_megabytes=1", 2,
       "set/table.csv: expected at most 1 MiB of text (data.max_table_megabytes), got more",
       file_of("set/table.csv", "image,sick,age\n" + repeated("0.png,1,30\n", 110000))},
  };
}

std::vector<BadInputCase> array_cases() {
  return {
      {"an HTML page for arrays", "a page that says 404", kShowArray, 2,
       "set/chest.npz: expected an .npz archive, got an HTML page, such as servers send in place of a file",
       file_of("set/chest.npz", "<html>404</html>")},
      {"an archive cut short", "its first half", kShowArray, 2,
       "set/chest.npz: expected an .npz archive: ...", cut_of("set/chest.npz", 0.5)},
      {"arrays that are not there", "an array renamed", kShowArray, 2,
       "set/chest.npz: expected an array train_images.npy, got none",
       [](const fs::path& folder) {
         int code = 0;
         zip_t* zip = zip_open((folder / "set/chest.npz").c_str(), 0, &code);
         zip_file_rename(zip, static_cast<zip_uint64_t>(zip_name_locate(zip, "train_images.npy", 0)),
                         "other.npy", 0);
         zip_close(zip);
       }},
      {"an array larger than is allowed", "2 MB; the configuration allows 1 MiB",
       kShowArray + " --set data.max_array_megabytes=1", 2,
       "set/chest.npz/train_images.npy: expected an array of at most 1 MiB (data.max_array_megabytes), got "
       "2000128 bytes",
       [](const fs::path& folder) { replace_array(folder, array_of("|u1", "2, 1000, 1000", 2'000'000)); }},
      {"an array that lies about its shape", "9223372036854775807 x 2 elements of no bytes", kShowArray, 2,
       "set/chest.npz/train_images.npy: expected the elements of shape [9223372036854775807, 2], got 0 bytes",
       [](const fs::path& folder) { replace_array(folder, array_of("|u1", "9223372036854775807, 2", 0)); }},
      {"an array of Python objects", "its type is `|O`", kShowArray, 2,
       "set/chest.npz/train_images.npy: ... got '|O'...",
       [](const fs::path& folder) { replace_array(folder, array_of("|O", "4, 5, 6", 120)); }},
      {"an array that lies about its size", "the directory of the archive says 2 GB", kShowArray, 2,
       "set/chest.npz/train_images.npy: damaged: ... bytes cannot hold an array of 2130706432",
       [](const fs::path& folder) {
         std::string bytes = contents(folder / "set/chest.npz");
         const size_t name = bytes.rfind("train_images.npy");
         bytes.replace(name - 46 + 24, 4, little_endian(0x7F000000, 4));
         write(folder / "set/chest.npz", bytes);
       }},
  };
}

}  // namespace medfusion::tools
