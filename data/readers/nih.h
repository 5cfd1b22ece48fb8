// The layout of NIH ChestX-ray14 (Wang et al., "ChestX-ray8", CVPR 2017):
//   ROOT/Data_Entry_2017.csv, Data_Entry_2017_v2020.csv or Kaggle's sample_labels.csv,
//   ROOT/train_val_list.txt, ROOT/test_list.txt (each may be gzip-compressed, with .gz added), and the PNG
//   files in ROOT/images*/ or ROOT/images*/images/.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/readers/file_limits.h"

namespace medfusion::data {

// In the official order.
inline constexpr std::array<std::string_view, 14> kNihLabels = {
    "Atelectasis", "Cardiomegaly", "Effusion",           "Infiltration",  "Mass",
    "Nodule",      "Pneumonia",    "Pneumothorax",       "Consolidation", "Edema",
    "Emphysema",   "Fibrosis",     "Pleural_Thickening", "Hernia"};

struct NihOptions {
  std::string root;
  std::vector<std::string> labels;     // a subset of kNihLabels in the order wanted; empty means all
  int64_t min_positives = 0;           // then only those with at least so many positives in the whole table
  bool images = true;                  // false leaves the images out; they need not exist
  std::vector<std::string> columns{};  // that the table keeps and the text speaks of; empty means all
  // A CSV file with a column "Image Index" and a row for each image (rows of others are passed over); its
  // other columns join the table. Empty: none.
  std::string extra_table{};
  std::vector<std::string>
      categorical{};    // those of extra_table that are categories although they hold numbers
  bool partial = true;  // leaves out rows whose image is not there; false refuses them
  bool absent = false;  // keeps rows whose image is not there, whatever `partial` says
  FileLimits limits{};
};

// Columns, before those of extra_table: "age" (years; over 110, an error of the source, counts as missing),
// "sex" (M, F), "view" (PA, AP), "follow_up" (count of earlier images), and where `columns` asks for them
// "aspect_ratio" (width over height) and "pixel_spacing" (mm) of the original image. Text: nih_text. Labels
// of an image are known: 0 or 1. Rows without an image file are left out and counted in Dataset::notes where
// `partial` is true. Throws core::InputError naming file, line and column, or an unknown name in `columns`.
Dataset read_nih(const NihOptions& options);

// Ids, patients, targets, columns and texts of a table with the official header, without images. Of the
// options columns, extra_table and categorical count.
Dataset read_nih_table(const std::string& file, const NihOptions& options = {});

// The sentence made of a row's metadata:
//   [first image | follow-up 1 to 3 | follow-up 4 to 9 | follow-up 10 or more] of a [male | female] patient
//   [under ten | in the teens | in the twenties ... | over ninety], [posteroanterior | anteroposterior] view,
//   [portrait | square | landscape] format
// Parts that are not known (NaN, empty) are left out. Ranges in words, since exact numbers are in the table
// and words that occur often can be learned from little data.
std::string nih_text(double age, std::string_view sex, std::string_view view, double follow_up,
                     double aspect_ratio);

}  // namespace medfusion::data
