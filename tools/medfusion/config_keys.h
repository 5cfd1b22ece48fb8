// The table of configuration keys: everything that reads, checks, writes or documents a key is driven by it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tools/medfusion/config.h"

namespace medfusion::tools {

using FieldPointer = std::variant<bool*, int64_t*, double*, std::string*, std::vector<std::string>*,
                                  std::vector<double>*, std::vector<int64_t>*>;

// What a value, or each value of a list, must satisfy.
struct KeyRange {
  std::vector<std::string> choices;  // of a text; empty means any
  std::optional<double> low;
  std::optional<double> high;
  bool low_excluded = false;
  bool high_excluded = false;

  // "at least 1", "in [0, 1)", "one of sigmoid, softmax"; empty where anything goes.
  std::string text() const;
};

struct ConfigKey {
  std::string name;  // "model.branches.dense"
  FieldPointer (*field)(Config&);
  KeyRange range;
  std::string help;

  // "model" of "model.branches.dense"; empty for a key at the top.
  std::string section() const;
  // "integer", "list of texts", ...
  std::string type() const;
  // The default as TOML.
  std::string default_value() const;
};

const std::vector<ConfigKey>& config_keys();
const ConfigKey* find_key(const std::string& name);

// The key (or section, where is_section) that a misspelled name most likely meant.
std::string nearest_key(const std::string& name, bool is_section);

// A field's value as TOML.
std::string format_value(const FieldPointer& field);

// The reference of docs/configuration.md: one Markdown table per section.
std::string describe_keys();

}  // namespace medfusion::tools
