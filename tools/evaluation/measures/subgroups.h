// Rows in groups by a column of the data: sex, view, age bands.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace medfusion::tools {

struct Subgroup {
  std::string name;           // "F", "40 to 59"; "missing" for rows without a value
  std::vector<int64_t> rows;  // positions within the rows that were grouped, ascending
};

struct Grouping {
  std::string column;
  std::vector<Subgroup> groups;  // together every row once; empty groups are left out
};

// Groups of `rows` of a column. Categorical: one group per category, in byte order. Numeric: bands [.., c1),
// [c1, c2), ... of the ascending `cuts`; without cuts, of the quartiles of the rows' values.
Grouping group_rows(const data::Column& column, const std::vector<int64_t>& rows,
                    const std::vector<double>& cuts);

// The columns to group by: those named in `wanted`, in that order, found in any case of letters; where it is
// empty, sex, age and view as far as the data has them. Throws core::InputError for a name that the data
// does not have.
std::vector<const data::Column*> subgroup_columns(const std::vector<data::Column>& columns,
                                                  const std::vector<std::string>& wanted);

// Whether two names are the same but for the case of ASCII letters.
bool same_name(const std::string& a, const std::string& b);

}  // namespace medfusion::tools
