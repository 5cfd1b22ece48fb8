#include "tools/medfusion/config/settings_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/nearest.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/config/toml.h"

namespace medfusion::tools {
namespace {

std::string without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return std::string(text.substr(0, text.find_last_not_of(' ') + 1));
}

std::string expected(const core::Field& key) {
  const std::string range = key.range.text();
  return range.empty() ? key.type() : key.type() + " " + range;
}

// Stores TOML values in the field of one key, throwing at the value's place.
struct Assignment {
  const core::Field& key;
  const std::string& file;
  bool with_places;  // false for --set, where `file` already shows the text

  [[noreturn]] void reject(const toml::node& node, const std::string& what) const {
    core::throw_input_error(with_places ? place_of(node.source(), file) : core::Place{file},
                            "{}: expected {}, got {}", key.name, expected(key), what);
  }

  template <class T>
  void read(const toml::node& node, T* value) const {
    std::optional<T> given;
    if constexpr (std::is_same_v<T, double>) {
      if (node.is_number()) given = node.value<double>();  // an integer is one
    } else {
      given = node.value_exact<T>();
    }
    if (!given) reject(node, shown_toml(node));
    *value = *given;
    if constexpr (std::is_same_v<T, std::string>) {
      if (!key.range.holds(*value)) {
        reject(node, fmt::format("text '{}'{}", one_line_of(*value),
                                 core::did_you_mean(*value, key.range.choices)));
      }
    } else if (!key.range.holds(static_cast<double>(*value))) {
      reject(node, shown_toml(node));
    }
  }

  void read(const toml::node& node, const core::Choice& choice) const {
    std::string text;
    read(node, &text);
    const auto found = std::find(choice.names.begin(), choice.names.end(), text);
    *choice.value = static_cast<uint8_t>(found - choice.names.begin());
  }

  template <class T>
  void read(const toml::node& node, std::vector<T>* values) const {
    const auto* list = node.as_array();
    if (list == nullptr) reject(node, shown_toml(node));
    values->clear();
    for (const toml::node& item : *list) read(item, &values->emplace_back());
  }

  void read(const toml::node& node) const {
    std::visit([&](auto field) { read(node, field); }, key.value);
  }
};

const core::Field* find_key(const std::vector<core::Field>& keys, const std::string& name) {
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

bool is_section(const std::vector<core::Field>& keys, const std::string& name) {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const core::Field& key) { return key.name.starts_with(name + "."); });
}

[[noreturn]] void unknown(const std::vector<core::Field>& keys, const core::Place& place,
                          const std::string& name, bool is_table) {
  core::throw_input_error(place, "unknown {} {}; did you mean {}?", is_table ? "section" : "key",
                          one_line_of(name), nearest_key(keys, name, is_table));
}

// Every value of a table, and of the tables in it.
void read_table(const toml::table& table, const std::string& prefix, const std::string& file,
                const std::vector<core::Field>& keys, std::map<std::string, core::Place>& places) {
  for (const auto& [toml_key, node] : table) {
    const std::string name = prefix + std::string(toml_key.str());
    if (const core::Field* key = find_key(keys, name)) {
      Assignment{*key, file, true}.read(node);
      places[name] = place_of(node.source(), file);
    } else if (is_section(keys, name)) {
      if (!node.is_table()) {
        core::throw_input_error(place_of(node.source(), file), "{}: expected a section [{}], got {}", name,
                                name, shown_toml(node));
      }
      read_table(*node.as_table(), name + ".", file, keys, places);
    } else {
      unknown(keys, place_of(toml_key.source(), file), name, node.is_table());
    }
  }
}

// Without empty parts.
std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (const std::string_view part : split(text, ',')) {
    if (part.find_first_not_of(' ') != std::string::npos) parts.push_back(without_blanks(part));
  }
  return parts;
}

// The text of --set as TOML: text may lack its quotes, a list its brackets.
std::string as_toml(const core::Field& key, const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  const char start = first == std::string::npos ? '\0' : text[first];
  const bool quoted = start == '"' || start == '\'';
  if (key.type() == "text") {
    std::string value = text;
    return quoted ? text : format_value(&value);
  }
  if (key.type().starts_with("list") && start != '[') {
    std::vector<std::string> parts = split_at_commas(text);
    if (std::holds_alternative<std::vector<std::string>*>(key.value)) {
      return quoted ? "[" + text + "]" : format_value(&parts);
    }
    return fmt::format("[{}]", fmt::join(parts, ", "));
  }
  return text;
}

}  // namespace

void SettingsReader::read_file(const std::string& path) { read_text(tools::read_file(path), path); }

void SettingsReader::read_text(const std::string& text, const std::string& file) {
  file_ = file;
  try {
    const toml::table table = parse_toml(text, file);
    read_table(table, "", file, fields(), places_);
  } catch (const toml::parse_error& error) {
    core::throw_input_error(place_of(error.source(), file), one_line_of(error.description()));
  }
}

void SettingsReader::set(const std::string& assignment) {
  const std::string option = "--set " + one_line_of(assignment);
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) core::throw_input_error({option}, "expected KEY=VALUE");
  set(without_blanks(assignment.substr(0, equals)), without_blanks(assignment.substr(equals + 1)), option);
}

void SettingsReader::set(const std::string& name, const std::string& value, const std::string& option) {
  const std::vector<core::Field> keys = fields();
  const core::Field* key = find_key(keys, name);
  if (key == nullptr) unknown(keys, {option}, name, false);
  const Assignment assignment{*key, option, false};
  try {
    const toml::table table = parse_toml("value = " + as_toml(*key, value), option);
    // One value only: a line end in the text must not bring in others.
    if (table.size() != 1) core::throw_input_error({option}, "expected one value");
    assignment.read(*table.get("value"));
  } catch (const toml::parse_error&) {
    core::throw_input_error({option}, "{}: expected {}, got '{}'", name, expected(*key), one_line_of(value));
  }
  places_[name] = {option};
}

core::Require SettingsReader::require() const {
  return [this](bool condition, const std::vector<std::string>& keys, const std::string& message) {
    if (condition) return;
    core::Place place{file_};
    for (const std::string& key : keys) {
      if (const auto found = places_.find(key); found != places_.end()) {
        place = found->second;
        break;
      }
    }
    core::throw_input_error(place, keys.front() + ": " + message);
  };
}

}  // namespace medfusion::tools
