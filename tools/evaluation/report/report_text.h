// Small pieces of text that the report's sections share.
#pragma once

#include <functional>
#include <string>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report.h"

namespace medfusion::tools {

// "0.912 [0.880, 0.941]", HTML, of {"value", "low", "high"}; "-" where there is no value. Marked with a
// dagger where more than a tenth of `resamples` had no value (docs/evaluation.md: undefined_resamples).
std::string interval_text(const nlohmann::ordered_json& measure, int64_t resamples = 0);
// The same of numbers that have other names; "-" where `json` is no object.
std::string interval_text(const nlohmann::ordered_json& json, const char* value, const char* low = "low",
                          const char* high = "high");
// The same as an entry of a figure.
IntervalEntry interval_entry(const std::string& name, const nlohmann::ordered_json& measure);
// Points [x, y, ...] of a curve of evaluation.json; y: which entry.
ChartSeries curve_series(const nlohmann::ordered_json& points, const std::string& name, size_t y = 1);
// What the dagger means, where `html` holds one; else empty.
std::string partial_note(const std::string& html);
// A number with `digits` decimals, "-" for null.
std::string number_text(const nlohmann::ordered_json& value, int digits = 3);
// A number with `digits` significant digits, "-" for null.
std::string significant_text(const nlohmann::ordered_json& value, int digits = 4);
// A share in percent with `digits` decimals, "-" for null.
std::string percent_text(const nlohmann::ordered_json& value, int digits = 1);
// A count, "-" for null.
std::string count_text(const nlohmann::ordered_json& value);
// What lies at a JSON pointer such as "/guard/notes"; null where nothing does.
nlohmann::ordered_json value_at(const nlohmann::ordered_json& json, const std::string& pointer);
// A list; items are HTML.
std::string list_html(const std::vector<std::string>& items);
// A paragraph that says what is not there and which command makes it.
std::string missing_note(const std::string& what, const std::string& command);

// What `make` returns; where a file of the run `name` lacks what it looks for, throws core::InputError.
Page checked_page(const std::string& name, const std::function<Page()>& make);

// A setting as text for people, HTML; empty where the run has none of that name.
std::string setting_text(const RunRecord& run, const std::string& key);
// The same of a text, as it is; empty where there is none.
std::string setting_of(const RunRecord& run, const std::string& key);
bool setting_is_on(const RunRecord& run, const std::string& key);

// What the network reads.
bool reads_images(const RunRecord& run);
bool reads_table(const RunRecord& run);
bool reads_text(const RunRecord& run);
// "images", or "rows" where there are none.
std::string samples_word(const RunRecord& run);

// "test part", "out of fold", of an evaluation; HTML.
std::string part_name(const nlohmann::ordered_json& evaluation);

// "table only", of an entry of an evaluation's controls; HTML.
std::string control_name(const nlohmann::ordered_json& control);

// What the rows of each part are like: rows, patients, inputs, labels. Empty where schema.json is not there.
Html table_one(const RunRecord& run);
// Why a label cannot be judged: a class that no row of the training part has, or no evaluated row. Empty
// where there is nothing of the kind.
std::string absent_class(const RunRecord& run, const std::string& label);

// "a, b and c".
std::string list_text(const std::vector<std::string>& words);

}  // namespace medfusion::tools
