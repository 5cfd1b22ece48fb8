// Turns the columns of a table into numbers for the network, by what the training rows hold.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/settings.h"
#include "data/dataset.h"

namespace medfusion::data {

inline constexpr std::array kImputations{"none", "median"};
enum class Imputation : uint8_t {
  none,
  median  // numbers: the median of the training rows; categories: the most frequent one
};
constexpr core::Names names_of(Imputation) { return kImputations; }

// Features, in the order of the columns:
// - a numeric column gives one, (value - mean) / standard deviation of the training rows (that of the
// population, / n); one named in `log_columns` is first replaced by sign(x) log(1 + |x|), for counts whose
// range is wide;
// - a categorical one with two categories gives one, "sex=M": 1 for the second in byte order, 0 for the
// first;
// - one with more gives one per category: 1 for it, 0 for the others. A category that training did not see is
// missing. A column that is constant, or missing throughout, in training keeps one feature that is always 0,
// so that the features depend on the names of the columns and not on a lucky split.
class TableEncoder {
 public:
  // Learns from `rows` of the columns. Throws core::Error for a row that does not exist, core::InputError for
  // a name in `log_columns` that is not that of a numeric column.
  static TableEncoder fit(const std::vector<Column>& columns, const std::vector<int64_t>& rows,
                          const std::vector<std::string>& log_columns = {},
                          Imputation imputation = Imputation::none);

  int64_t features() const { return static_cast<int64_t>(names_.size()); }
  const std::vector<std::string>& feature_names() const { return names_; }

  // All rows, [n, F] f32 without NaN and without bins. Finds the columns by name, and reads them as
  // as_trained() does; throws core::InputError where one is missing.
  core::Table encode(const std::vector<Column>& columns) const;
  // `rows` rows of which nothing is known.
  core::Table encode_missing(int64_t rows) const;

  // The features as the table has them, each with one value per row: numbers in their own unit, categories as
  // 0 and 1, NaN where missing. Throws as encode() does.
  std::vector<std::vector<double>> raw_features(const std::vector<Column>& columns) const;
  // What encode() makes of a raw value of a feature.
  float encoded(int64_t feature, double raw) const;
  // The place of the column that a feature comes from, among the columns fitted; its name; whether it is
  // numeric.
  int64_t column_of(int64_t feature) const { return owners_[static_cast<size_t>(feature)]; }
  const std::string& column_name(int64_t feature) const { return source_of(feature).name; }
  bool numeric(int64_t feature) const { return source_of(feature).numeric; }

  // The names of the columns fitted, in order.
  std::vector<std::string> column_names() const;
  // The columns fitted, in order, as training read them: of numbers or of words, whatever `columns` hold, and
  // with the words of training where the same number is written otherwise (1.0 for 1). A word that training
  // did not see stays, and encode() reads it as missing (depart_from of data/schema.h counts them). A word
  // among numbers is missing; `notes` receives a line for each column that has some, with their count. Throws
  // as encode() does.
  std::vector<Column> as_trained(const std::vector<Column>& columns, std::vector<std::string>& notes) const;

  // Gaps are cells without a value in columns where training had one in every row, so that the network never
  // learned what a missing one means. Instead it is asked kDraws times, each time with another value that
  // training had. gaps() tells which rows have one in a column that some of `features` come from; fill_gaps()
  // gives the columns, as training read them, with the values of a draw in [0, kDraws). Both throw as
  // encode() does.
  static constexpr int64_t kDraws = 8;
  std::vector<bool> gaps(const std::vector<Column>& columns, const std::vector<int64_t>& features) const;
  std::vector<Column> fill_gaps(const std::vector<Column>& columns, int64_t draw) const;

  nlohmann::json to_json() const;
  // Throws core::InputError naming `file` where the content is not that of to_json().
  static TableEncoder from_json(const nlohmann::json& json, const std::string& file);

 private:
  struct Source {
    std::string name;
    bool numeric = true;
    bool log = false;            // of the numbers, before mean and scale
    bool decimal_comma = false;  // how the training table wrote them
    double mean = 0.0;
    double scale = 0.0;                   // the standard deviation; 0 for a constant
    std::vector<std::string> categories;  // ascending
    double fill = 0.0;                    // the median, or the place of the most frequent category
    std::vector<double> draws;  // kDraws values of training, evenly spread: numbers, or places of categories;
                                // empty where training had gaps, or one value only
    bool has_value(const Column& column, size_t row) const;
    double transformed(double value) const;
    float encoded(double raw) const;
    int64_t width() const { return categories.size() > 2 ? static_cast<int64_t>(categories.size()) : 1; }
  };
  void name_features();
  static Source fit_numeric(const Column& column, const std::vector<int64_t>& rows, bool log);
  static Source fit_categorical(const Column& column, const std::vector<int64_t>& rows);
  const Source& source_of(int64_t feature) const {
    return sources_[static_cast<size_t>(owners_[static_cast<size_t>(feature)])];
  }
  static Column read_as(const Source& source, const Column& column, std::vector<std::string>& notes);
  static const Column& find(const std::vector<Column>& columns, const Source& source);
  static void read_cell(const Source& source, const Column& column, size_t row, double* values);
  static void fill_in(const Source& source, float* values);

  std::vector<Source> sources_;
  std::vector<std::string> names_;
  std::vector<int64_t> owners_;  // of each feature, its source
  Imputation imputation_ = Imputation::none;
};

}  // namespace medfusion::data
