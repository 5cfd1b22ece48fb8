#include "core/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace medfusion::core {

bool Range::holds(double number) const {
  return std::isfinite(number) && (!low || number > *low || (number == *low && !low_excluded)) &&
         (!high || number < *high || (number == *high && !high_excluded));
}

bool Range::holds(const std::string& text) const {
  return choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end();
}

std::string Range::text() const {
  if (!choices.empty()) {
    std::string list;
    for (const std::string& choice : choices) list += (list.empty() ? "one of " : ", ") + choice;
    return list;
  }
  if (low && high) {
    return fmt::format("in {}{}, {}{}", low_excluded ? '(' : '[', *low, *high, high_excluded ? ')' : ']');
  }
  if (low) return fmt::format("{} {}", low_excluded ? "above" : "at least", *low);
  return {};
}

std::string Field::section() const {
  const size_t dot = name.find('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot);
}

std::string Field::type() const {
  static constexpr std::array kNames{"boolean", "integer",       "number",          "text",
                                     "text",    "list of texts", "list of numbers", "list of integers"};
  return kNames.at(value.index());
}

void Field::check(const std::string& what) const {
  const auto require = [&](bool holds, const auto& got) {
    if (!holds)
      throw InputError(fmt::format("{}: {}: expected {} {}, got {}", what, name, type(), range.text(), got));
  };
  if (const auto* const* integer = std::get_if<int64_t*>(&value)) {
    require(range.holds(static_cast<double>(**integer)), **integer);
  } else if (const auto* const* number = std::get_if<double*>(&value)) {
    require(range.holds(**number), **number);
  } else if (const auto* const* text = std::get_if<std::string*>(&value)) {
    require(range.holds(**text), **text);
  } else if (const auto* choice = std::get_if<Choice>(&value)) {
    require(*choice->value < choice->names.size(), static_cast<int>(*choice->value));
  } else if (const auto* const* numbers = std::get_if<std::vector<double>*>(&value)) {
    for (const double each : **numbers) require(range.holds(each), each);
  } else if (const auto* const* integers = std::get_if<std::vector<int64_t>*>(&value)) {
    for (const int64_t each : **integers) require(range.holds(static_cast<double>(each)), each);
  }
}

}  // namespace medfusion::core
