// Which rows train, validate and test. The rows of one patient never lie in two parts, unless a list that
// says so is allowed to (`allow_patients`); what is drawn at random keeps the rows of a group
// (Dataset::groups) together. All functions throw core::InputError: for a patient in two parts (naming the
// patient), for an id that is not in the data or is missing from a list (naming file and line), for a part
// without rows (naming the part), for a fraction outside [0, 1).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/dataset.h"

namespace medfusion::data {

inline constexpr std::array kSplitKinds{"auto", "official", "own", "random", "folds", "file"};
enum class SplitKind : uint8_t { automatic, official, own, random, folds, file };
constexpr core::Names names_of(SplitKind) { return kSplitKinds; }

struct SplitOptions {
  SplitKind kind = SplitKind::automatic;
  std::string file;
  std::string folds = "5";
  int64_t fold = 0;
  double val_fraction = 0.1;
  double test_fraction = 0.2;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("split", kind,
          "How the training, validation and test parts are made: `auto` (`official` for `nih` and `phantom`; "
          "else `own` where the data brings parts, and `random` where it does not), `official` (the lists of "
          "`nih`; other "
          "formats as `own`), `own` (the parts that the data brings: `data.part_column`, or the arrays of "
          "`medmnist`), `random` (whole patients at random), `folds` (fold `data.fold` of `data.folds` is "
          "the test part), `file` (`data.split_file`).");
    visit("split_file", file,
          "CSV file with two columns: the id, and one of train, val, test, none (in no part).");
    visit(
        "folds", folds,
        "CSV file with two columns, the id and the fold, counted from 0 or from 1 (then the first is fold 0 "
        "here); or a number of folds to draw at random by patient.");
    visit("fold", fold, Range::at_least(0), "The fold that is the test part.");
    visit("val_fraction", val_fraction, Range::below(0, 1),
          "If the split has no validation part: share of the training part's images that become one, drawn "
          "by patient.");
    visit("test_fraction", test_fraction, Range::below(0, 1),
          "Share of the images in the test part of a `random` split.");
  }
  void check_rules(const core::Require& require) const;

  // The number of folds to draw where `folds` is one; nothing where it names a file.
  std::optional<int64_t> fold_count() const;
};

// ROOT/train_val_list.txt and ROOT/test_list.txt (or .gz), one id per line. Rows that are in no list are in
// no part, and ids that the data lacks are passed over. val_fraction of the images of the first list, by
// patient, become the val part; with 0 it stays empty.
Splits official_splits(const Dataset& dataset, const std::string& root, double val_fraction, uint64_t seed,
                       bool allow_patients = false);

// One sentence that counts the ids of these lists that the data lacks, and the rows that are in no list;
// empty where there are none, or no lists.
std::string departures_from_lists(const Dataset& dataset, const std::string& root);

// The parts the dataset brings along (Dataset::parts). Where none of its rows is in val, val_fraction of the
// images of train, by patient, are moved there.
Splits own_splits(const Dataset& dataset, double val_fraction, uint64_t seed, bool allow_patients = false);

// A CSV file with two columns, the id and one of train, val, test, none. As own_splits otherwise.
Splits file_splits(const Dataset& dataset, const std::string& file, double val_fraction, uint64_t seed,
                   bool allow_patients = false);

// Patients drawn at random until a part holds its fraction of all images, as closely as whole patients allow.
Splits random_splits(const Dataset& dataset, double val_fraction, double test_fraction, uint64_t seed);

// The fold of each row, from a CSV file with two columns, the id and the fold. Folds count from 0; where the
// file counts from 1 (each of 1 to the highest is there, and no 0), 1 becomes 0.
std::vector<int64_t> read_folds(const Dataset& dataset, const std::string& file, bool allow_patients = false);

// One sentence where read_folds() changes the numbers; else empty.
std::string fold_numbering(const Dataset& dataset, const std::string& file);

// `count` folds of about the same number of images, patients drawn at random.
std::vector<int64_t> make_folds(const Dataset& dataset, int64_t count, uint64_t seed);

// Tests on fold `fold`, trains on the others but for val_fraction of their images, by patient.
Splits fold_splits(const Dataset& dataset, const std::vector<int64_t>& folds, int64_t fold,
                   double val_fraction, uint64_t seed);

// For choosing settings without a look at fold `fold`: of the rows of the other folds, test_fraction are
// drawn by patient to test on and the rest trains. The rows of the fold are in no part.
Splits inner_splits(const Dataset& dataset, const std::vector<int64_t>& folds, int64_t fold,
                    double test_fraction, uint64_t seed);

}  // namespace medfusion::data
