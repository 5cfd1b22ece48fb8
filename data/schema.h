// The data contract of a run: what its columns, labels, images, texts and parts were (docs/schema.md).
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/open.h"
#include "data/table/table_encoder.h"
#include "data/text/tokenizer.h"

namespace medfusion::data {

// The least and the largest of some values; NaN where there is none.
struct ValueRange {
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
  void add(double value);
};

// An input column, as the training rows have it.
struct InputSchema {
  std::string name;
  bool numeric = true;
  int64_t missing = 0;  // training rows without a value
  // Of numbers.
  ValueRange range;
  int64_t distinct = 0;
  // Of categories: each with its rows, in byte order.
  std::vector<std::pair<std::string, int64_t>> categories;
  // How the network reads it: "(x - 54.2) / 16.8", "F = 0, M = 1"; empty where it does not.
  std::string coding;
  std::vector<std::string> features;  // the tokens made of it; empty: none
};

// Images of the training rows, of which `looked_at` were decoded, evenly spread. Intensities are fractions of
// what the bit depth can hold, over all channels but alpha.
struct ImageSchema {
  int64_t present = 0;
  int64_t looked_at = 0;
  ValueRange width, height;             // pixels
  std::map<int64_t, int64_t> channels;  // how many of the images have so many channels
  std::map<int64_t, int64_t> bits;      // per channel: 8 or 16
  int64_t colored = 0;                  // images with a pixel whose channels differ
  ValueRange intensity;                 // of all pixels
  ValueRange mean;                      // of the means of single images
  ValueRange bright;                    // of the 99th percentiles of single images
};

// Texts of the training rows.
struct TextSchema {
  int64_t texts = 0;  // not empty
  int64_t empty = 0;
  int64_t vocabulary = 0;  // words that have a number
  int64_t length = 0;      // words that the network reads
  int64_t words = 0;       // of all texts
  int64_t unknown = 0;     // of them, not in the vocabulary
  int64_t cut = 0;         // of them, behind `length`
  int64_t longest = 0;     // words of the longest text
};

struct LabelCounts {
  int64_t known = 0, positive = 0;
};

// An input column in one part.
struct PartInput {
  int64_t missing = 0;
  double mean = std::numeric_limits<double>::quiet_NaN();       // of numbers; NaN where there is none
  double deviation = std::numeric_limits<double>::quiet_NaN();  // of the sample; NaN of fewer than two
  std::vector<std::pair<std::string, int64_t>> categories;      // each with its rows, in byte order
};

struct PartSchema {
  std::string name;  // train, val, test
  int64_t rows = 0, patients = 0;
  int64_t repeats = 0;              // rows that repeat an earlier one of the data
  std::vector<LabelCounts> labels;  // one for each label
  std::vector<PartInput> inputs;    // one for each input; of earlier runs none
};

struct Schema {
  std::string format;
  int64_t rows = 0;  // of the whole data
  std::vector<std::pair<std::string, std::string>>
      roles;                        // role (id, patient, image, text, class, part), column
  std::vector<InputSchema> inputs;  // in the order of the data
  std::vector<std::pair<std::string, std::string>> left_out;  // column, why
  std::vector<std::string> labels;
  bool exclusive = false;  // exactly one label is true of a row
  ImageSchema images;
  TextSchema text;
  std::vector<PartSchema> parts;

  nlohmann::ordered_json to_json() const;
  // Throws core::InputError naming `file` where the content is not that of to_json().
  static Schema from_json(const nlohmann::ordered_json& json, const std::string& file);
};

inline constexpr int64_t kImagesDescribed = 64;
inline constexpr int64_t kImagesCompared = 256;

// What was fitted to the training part; null where the network does not read it.
struct SchemaEncoders {
  const TableEncoder* table = nullptr;
  std::vector<std::string> features;  // the features of `table` that become tokens
  const Tokenizer* text = nullptr;
};

// Throws core::InputError where an image cannot be decoded.
Schema describe(const DataOptions& options, const Dataset& dataset, const Splits& splits,
                const SchemaEncoders& encoders);

// Figures of at most `most` images of the rows, evenly spread; all where there are fewer.
ImageSchema describe_images(const ImageSource& images, const std::vector<int64_t>& rows, int64_t most);

// In what images of the rows depart from `schema`, one line for each kind: another bit depth, in color where
// there was none (or the other way round), or a mean or a 99th percentile below half of the least or above
// twice the largest. `schema` describes at least one image; at most `most` images are decoded.
std::vector<std::string> image_departures(const ImageSchema& schema, const ImageSource& images,
                                          const std::vector<int64_t>& rows, int64_t most);

struct Departures {
  std::vector<std::string> refused;  // one line each: what `--strict` refuses
  std::vector<std::string> notes;    // what else is worth a line
};

// In what some rows depart from the training rows of `schema`, one line for a column that the network reads:
// categories that training never saw, numbers outside of its range; then image_departures(). Notes: cells
// missing where training had none missing.
Departures depart_from(const Schema& schema, const Dataset& dataset, const std::vector<int64_t>& rows,
                       int64_t most_images);

}  // namespace medfusion::data
