#include "core/error.h"

#include <algorithm>

namespace medfusion::core {

std::string describe(const Place& place, const std::string& message) {
  std::string text = place.file;
  if (place.line > 0) text += fmt::format(":{}", place.line);
  if (place.column > 0) text += fmt::format(":{}", place.column);
  return text.empty() ? message : text + ": " + message;
}

void throw_input_error(const Place& place, const std::string& message) {
  std::string text = describe(place, message);  // one line, whatever cell or name it quotes
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  throw InputError(text);
}

void throw_check_failed(const char* file, int line, const char* condition, const std::string& message) {
  throw Error(fmt::format("{} (check `{}` failed at {}:{})", message, condition, file, line));
}

}  // namespace medfusion::core
