#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/nearest.h"
#include "tools/medfusion/config/settings_file.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// A key in the wrong section counts as one mistake.
size_t name_distance(const std::string& name, const std::string& candidate) {
  return std::min(core::edit_distance(name, candidate),
                  1 + core::edit_distance(last_part(name), last_part(candidate)));
}

// Values as TOML.
std::string scalar(bool value) { return value ? "true" : "false"; }
std::string scalar(int64_t value) { return std::to_string(value); }
std::string scalar(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\u{:04X}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string scalar(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

template <class T>
std::string scalar(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) text += (text.empty() ? "" : ", ") + scalar(value);
  return "[" + text + "]";
}

}  // namespace

std::string nearest_key(const std::vector<core::Field>& fields, const std::string& name, bool is_section) {
  std::string nearest;
  size_t distance = std::numeric_limits<size_t>::max();
  for (const core::Field& key : fields) {
    const std::string candidate = is_section ? key.name.substr(0, key.name.rfind('.')) : key.name;
    if (is_section && candidate == key.name) continue;
    const size_t d = name_distance(name, candidate);
    if (d < distance) {
      nearest = candidate;
      distance = d;
    }
  }
  return nearest;
}

std::string format_value(const core::FieldPointer& value) {
  return std::visit(
      [](auto field) {
        if constexpr (std::is_pointer_v<decltype(field)>) {
          return scalar(*field);
        } else {
          return scalar(std::string(field.names[*field.value]));
        }
      },
      value);
}

std::string to_toml(const std::vector<core::Field>& fields) {
  std::string text;
  std::string table;  // the keys are grouped by the table they are in
  for (const core::Field& key : fields) {
    if (key.section() != table) {
      table = key.section();
      text += fmt::format("\n[{}]\n", table);
    }
    // Keys of nested tables are written dotted ("branches.dense = true"), so that each section stays in one
    // piece.
    const std::string name = table.empty() ? key.name : key.name.substr(table.size() + 1);
    text += fmt::format("{} = {}\n", name, format_value(key.value));
  }
  return text;
}

std::string describe_fields(const std::vector<core::Field>& fields) {
  std::string text;
  std::string section = "\n";  // no section is called that
  for (const core::Field& key : fields) {
    if (key.section() != section) {
      section = key.section();
      text += fmt::format("{}## {}\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
                          text.empty() ? "" : "\n", section.empty() ? "General" : "`[" + section + "]`");
    }
    const std::string range = key.range.text();
    const std::string help = replace_all(key.help, "|", "\\|");  // which would end the cell
    text += fmt::format("| `{}` | {}{} | `{}` | {} |\n", key.name, key.type(),
                        range.empty() ? "" : ", " + range, format_value(key.value), help);
  }
  return text;
}

}  // namespace medfusion::tools
