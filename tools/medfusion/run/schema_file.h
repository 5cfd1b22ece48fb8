// The data contract of a run: schema.json, its forms as text, and new data held against it (docs/schema.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/schema.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

data::Schema schema_of(const Config& config, const data::Dataset& dataset, const data::Splits& splits,
                       const Preprocessing& preprocessing);

// Everything, in lines of at most 120 columns: roles, table, images, text, parts, labels.
std::string schema_text(const data::Schema& schema);
// The same in at most eight lines.
std::string schema_summary(const data::Schema& schema);

// Writes schema.json into the run; the summary goes to standard error where wanted.
void write_schema(const RunDirectory& run, const data::Schema& schema, bool summary);

// How data that a run is applied to is compared with that of its training.
struct ContractOptions {
  std::string run;      // its folder
  bool strict = false;  // refuse what departs, and look at all images
  bool quiet = false;   // print nothing
};

// One line on standard error for each departure (data/schema.h); with `strict` core::InputError of the same
// lines instead. A run without schema.json gets a line that says so, with `strict` core::InputError.
void hold_against_schema(const ContractOptions& options, const data::Dataset& dataset,
                         const std::vector<int64_t>& rows);
// Of all rows.
void hold_against_schema(const ContractOptions& options, const data::Dataset& dataset);

}  // namespace medfusion::tools
