// The guard as train and cv use it: what it refuses of leaks (data/leakage.h) and of what is not there, and
// what it warns of.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

// Throws core::InputError where the data or its split leaks in a way that guard.allow does not accept.
void refuse_leaks(const Config& config, const data::Dataset& dataset, const data::Splits& splits);

// Throws core::InputError where the network is to read images and the data has none.
void refuse_missing_images(const Config& config, const data::Dataset& dataset);

// One line for each column of the table that alone tells a label of `rows` at an AUROC above 0.80, by its
// numbers in either direction, by one of its categories, or by whether it is missing (one line for all of
// these). Labels with fewer than 10 positives or negatives among the rows are left out.
std::vector<std::string> suspicious_columns(const data::Dataset& dataset, const std::vector<int64_t>& rows);

// What is odd about the texts of training rows, a line each: a vocabulary without words, or at least half of
// the texts are cut. Empty where the network reads no text.
std::vector<std::string> text_notes(const Config& config, const data::Dataset& dataset,
                                    const std::vector<int64_t>& rows);

// Notes and warnings, one a line on standard error: "note: ...", "warning: ...".
void print_remarks(const std::vector<std::string>& notes, const std::vector<std::string>& warnings);

// What data.json holds of it: "allowed", "notes" of the reader, "warnings".
nlohmann::ordered_json describe_guard(const Config& config, const data::Dataset& dataset,
                                      const std::vector<std::string>& warnings);

}  // namespace medfusion::tools
