// A dataset without its pixels: one row per image (or per patient where there is no image).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace medfusion::data {

// Where the pixels of a row come from. Implementations are safe to call from several threads.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  // Decoded pixels of row `row`: [height, width, channels] u8, or i32 for 16-bit images (0..65535); channels
  // is 1 to 4 (data/images/image.h). Throws core::InputError naming the file where it is missing or broken.
  virtual core::Tensor read(int64_t row) const = 0;
  // Whether the row has an image at all.
  virtual bool present(int64_t row) const = 0;
  // The file that it is read from; empty where it has none of its own.
  virtual std::string file(int64_t /*row*/) const { return ""; }
  // What tells files apart without decoding them: size, 0 where there is no file, and xxHash64 of the encoded
  // bytes, or of the pixels.
  virtual int64_t encoded_size(int64_t row) const;
  virtual uint64_t digest(int64_t row) const;
  // Whether a pack (data/pack.h) holds the row, and what it holds: u8 [size, size, 1 or 3], which are not
  // changed and not used after the source; undefined where it does not. Throws core::InputError where they
  // are damaged.
  virtual bool is_packed(int64_t /*row*/) const { return false; }
  virtual core::Tensor packed(int64_t /*row*/) const { return {}; }
};

// One raw column of the table. Numeric cells are parsed, NaN where missing; categorical cells keep their
// text, empty where missing. Exactly one of the two vectors is filled, one value per row.
struct Column {
  std::string name;
  bool numeric = true;
  std::vector<double> numbers;
  std::vector<std::string> categories;
  bool decimal_comma = false;  // how a file writes the numbers
};

// A row that was left out, for its image cannot be read.
struct SkippedRow {
  std::string id, file, reason;
};

struct Dataset {
  std::string name;                   // the format: nih, phantom, csv, medmnist
  std::vector<std::string> labels;    // L names
  std::vector<std::string> ids;       // N, e.g. the image's file name; unique
  std::vector<std::string> patients;  // N; rows of one patient never lie in two parts of a split
  // N: as the data writes them, where a patient has several spellings; else empty.
  std::vector<std::string> patient_spellings;
  std::vector<std::string> groups;  // N: rows of one group are drawn into one part; empty: patients
  // N: of which case the image is, empty where it is alone; or empty: all are.
  std::vector<std::string> image_groups;
  std::shared_ptr<ImageSource> images;     // null where the dataset has no images
  core::Tensor targets;                    // [N, L] f32: 0, 1, or NaN for unknown
  bool exclusive = false;                  // exactly one label is true of each row whose labels are known
  bool labels_are_words = false;           // of one column, so that a column may be called like a label
  std::vector<Column> columns;             // the table
  std::vector<std::string> known_columns;  // of the file, inputs or not, and labels; empty: not known
  std::vector<std::pair<std::string, std::string>> left_out;  // columns that the reader left out, and why
  std::vector<std::string> outcome_like;  // inputs that nobody named and that are written as labels are
  std::vector<std::string> texts;         // N, or empty where there is no text
  std::vector<std::string> parts;   // N: "train", "val" or "test" where the data itself says so; or empty
  std::vector<int64_t> repeats;     // N: the first row that each repeats, or itself; empty: none does
  std::vector<std::string> notes;   // what a reader should be told: columns left out, repeated rows
  std::vector<SkippedRow> skipped;  // in the order of the data (data/unreadable.h)
  uint64_t hash = 0;  // xxHash64 of what was read: tables, lists, names and sizes of image files

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
};

inline constexpr std::array kPartNames{"train", "val", "test"};

// Row numbers of each part, ascending, disjoint.
struct Splits {
  std::vector<int64_t> train, val, test;
};

}  // namespace medfusion::data
