// What the user is told beside the result: notes, warnings, why a command ended.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

namespace medfusion::core {

// Writes the text to standard error. Where that cannot be written the work goes on.
void tell(const std::string& text);
template <class First, class... Rest>  // the text as an fmt format string and its arguments
void tell(fmt::format_string<First, Rest...> text, First&& first, Rest&&... rest) {
  tell(fmt::format(text, std::forward<First>(first), std::forward<Rest>(rest)...));
}

}  // namespace medfusion::core
