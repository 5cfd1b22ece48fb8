// One way in: from options to a dataset and its split.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/duplicates.h"
#include "data/splits.h"

namespace medfusion::data {

// Paths are used as they are; the caller resolves relative ones.
struct DataOptions {
  std::string format = "nih";  // nih, phantom (that layout, without labels it does not plant), csv, medmnist
  std::string root;            // nih: the folder
  std::string file;            // csv: the table; medmnist: the .npz file
  std::vector<std::string>
      labels;  // a subset, in this order; empty: all. csv: the columns of the labels, not empty
  int64_t min_positives = 0;       // leaves out labels with fewer positives in the whole data
  bool read_images = true;         // nih, csv: false leaves the images out; the files need not exist
  std::vector<std::string> table;  // columns that are inputs; empty: all (csv: all without another role)

  std::string extra_table;  // nih: a CSV file that joins the table; see NihOptions

  // csv only; see CsvOptions. (categorical_columns: extra_table, too.)
  std::string images;
  std::string id_column, patient_column, image_column, text_column, part_column;
  std::vector<std::string> categorical_columns;
  std::vector<std::string> exclude;  // columns that are never inputs
  bool keep_constant = false;        // for rows that a run is applied to

  // official (the lists of nih; own for the others), own (the parts that csv or medmnist name), random,
  // folds, file.
  std::string split = "official";
  std::string split_file;  // file: CSV with two columns, the id and train, val or test
  std::string fold_file;   // folds: CSV with two columns, the id and the fold; empty: folds drawn at random
  int64_t folds = 5;       // how many, where there is no fold_file
  int64_t fold = 0;        // the fold to test on
  double val_fraction = 0.1;   // of the images that would train (random: of all), by patient; 0: no val part
  double test_fraction = 0.2;  // random: of all images
  uint64_t seed = 1;           // of what is drawn

  DuplicateRule duplicates = DuplicateRule::automatic;  // which rows are drawn together as repeats of one
  bool allow_patients = false;                          // accepts a list that has a patient in two parts
};

// Throws core::InputError as the readers do, and for an unknown format.
Dataset open_dataset(const DataOptions& options);

// Throws core::InputError as the functions of data/splits.h do, and for an unknown split.
Splits make_splits(const DataOptions& options, const Dataset& dataset);

// The fold of each row, by fold_file or drawn. For all folds of a cross-validation use this once and
// fold_splits for each.
std::vector<int64_t> assign_folds(const DataOptions& options, const Dataset& dataset);

}  // namespace medfusion::data
