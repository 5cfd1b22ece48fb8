#include "tools/medfusion/run/schema_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <numeric>

#include "core/tell.h"

namespace medfusion::tools {
namespace {

constexpr const char* kSchemaFile = "schema.json";

}  // namespace

data::Schema schema_of(const Config& config, const data::Dataset& dataset, const data::Splits& splits,
                       const Preprocessing& preprocessing) {
  data::SchemaEncoders encoders;
  if (preprocessing.table) encoders.table = &*preprocessing.table;
  encoders.features = preprocessing.token_names();
  if (preprocessing.text) encoders.text = &*preprocessing.text;
  return data::describe(to_data_options(config), dataset, splits, encoders);
}

void write_schema(const RunDirectory& run, const data::Schema& schema, bool summary) {
  run.write_json(kSchemaFile, schema.to_json());
  if (summary) core::tell("{}", schema_summary(schema));
}

void hold_against_schema(const ContractOptions& options, const data::Dataset& dataset,
                         const std::vector<int64_t>& rows) {
  const RunDirectory run = RunDirectory::open(options.run);
  if (!std::filesystem::exists(run.file(kSchemaFile))) {
    constexpr const char* kNone = "has no schema.json to hold the data against; a new train writes one";
    if (options.strict) core::throw_input_error({options.run}, "{}", kNone);
    if (!options.quiet) core::tell("note: {} {}\n", options.run, kNone);
    return;
  }
  const auto schema = data::Schema::from_json(run.read_json(kSchemaFile), run.file(kSchemaFile).string());
  const int64_t images = options.strict ? dataset.size() : data::kImagesCompared;
  const data::Departures found = data::depart_from(schema, dataset, rows, images);
  if (options.strict && !found.refused.empty())
    core::throw_input_error({}, "--strict: {}", fmt::join(found.refused, "; "));
  if (options.quiet) return;
  for (const std::string& line : found.refused) core::tell("warning: {}\n", line);
  for (const std::string& line : found.notes) core::tell("note: {}\n", line);
}

void hold_against_schema(const ContractOptions& options, const data::Dataset& dataset) {
  std::vector<int64_t> rows(static_cast<size_t>(dataset.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  hold_against_schema(options, dataset, rows);
}

}  // namespace medfusion::tools
