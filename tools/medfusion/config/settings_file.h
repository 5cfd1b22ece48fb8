// Settings (core/settings.h) as text: TOML files, KEY=VALUE of --set, the resolved file, the reference page.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/settings.h"

namespace medfusion::tools {

// Reads settings step by step and remembers where each value came from. Every function throws
// core::InputError "FILE:LINE:COLUMN: KEY: expected ..., got ..." on bad input.
class SettingsReader {
 public:
  virtual ~SettingsReader() = default;

  // Reads a TOML file over what is there.
  void read_file(const std::string& path);
  // The same for TOML text; `file` is the name that errors carry.
  void read_text(const std::string& text, const std::string& file);
  // "key=value" of --set. Text may go without quotes, and a list without brackets: `data.labels=Mass,Edema`.
  void set(const std::string& assignment);
  // As set(), for options of the command line such as --seed: errors name `option`.
  void set(const std::string& key, const std::string& value, const std::string& option);

 protected:
  // The fields that are read into.
  virtual std::vector<core::Field> fields() = 0;
  // For check_rules(): errors are at the place where the first of the keys was given that was given at all.
  core::Require require() const;

 private:
  std::string file_;                           // the last that was read
  std::map<std::string, core::Place> places_;  // of the keys that were given
};

// A value as TOML.
std::string format_value(const core::FieldPointer& value);

// All fields as TOML, in their order.
std::string to_toml(const std::vector<core::Field>& fields);

// The reference of docs/configuration.md: one Markdown table per section. The values are the defaults.
std::string describe_fields(const std::vector<core::Field>& fields);

// The key (or section, where is_section) that a misspelled name most likely meant.
std::string nearest_key(const std::vector<core::Field>& fields, const std::string& name, bool is_section);

}  // namespace medfusion::tools
