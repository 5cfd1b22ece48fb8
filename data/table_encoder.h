// Turns the columns of a table into numbers for the network, by what the training rows hold.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/dataset.h"

namespace medfusion::data {

struct EncodedTable {
  core::Tensor values;   // [n, F] f32; 0 where missing
  core::Tensor missing;  // [n, F] bool
};

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
                          const std::vector<std::string>& log_columns = {});

  int64_t features() const { return static_cast<int64_t>(names_.size()); }
  const std::vector<std::string>& feature_names() const { return names_; }

  // All rows. Finds the columns by name; throws core::InputError where one is missing or of the other kind.
  EncodedTable encode(const std::vector<Column>& columns) const;

  nlohmann::json to_json() const;
  // Throws core::InputError naming `file` where the content is not that of to_json().
  static TableEncoder from_json(const nlohmann::json& json, const std::string& file);

 private:
  struct Source {
    std::string name;
    bool numeric = true;
    bool log = false;  // of the numbers, before mean and scale
    double mean = 0.0;
    double scale = 0.0;                   // the standard deviation; 0 for a constant
    std::vector<std::string> categories;  // ascending
    double transformed(double value) const;
    int64_t width() const { return categories.size() > 2 ? static_cast<int64_t>(categories.size()) : 1; }
  };
  void name_features();
  static Source fit_numeric(const Column& column, const std::vector<int64_t>& rows, bool log);
  static Source fit_categorical(const Column& column, const std::vector<int64_t>& rows);
  static void encode_cell(const Source& source, const Column& column, size_t row, float* values,
                          bool* missing);

  std::vector<Source> sources_;
  std::vector<std::string> names_;
};

}  // namespace medfusion::data
