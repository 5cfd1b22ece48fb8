#include "tools/medfusion/config/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {

core::Place place_of(const toml::source_region& source, const std::string& file) {
  return {file, static_cast<int64_t>(source.begin.line), static_cast<int64_t>(source.begin.column)};
}

std::string one_line_of(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

std::string shown_toml(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  constexpr size_t kLongest = 60;
  std::string result = one_line_of(text.str());
  if (result.size() > kLongest) result = result.substr(0, kLongest) + "...";
  return fmt::format("{} {}",
                     node.is_string()           ? "text"
                     : node.is_integer()        ? "integer"
                     : node.is_floating_point() ? "number"
                     : node.is_boolean()        ? "boolean"
                                                : "date or time",
                     result);
}

namespace {

// The parser descends a level of its stack for each part of a dotted key.
void refuse_long_lines(const std::string& text, const std::string& file) {
  constexpr size_t kLongest = 8192;
  int64_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    if (line.size() <= kLongest) continue;
    core::throw_input_error({file, number}, "expected lines of at most {} characters", kLongest);
  }
}

}  // namespace

toml::table parse_toml(const std::string& text, const std::string& place) {
  refuse_long_lines(text, place);
  try {
    return toml::parse(text, place);
  } catch (const std::logic_error&) {  // of toml_assert
    core::throw_input_error({place}, "expected TOML");
  }
}

}  // namespace medfusion::tools
