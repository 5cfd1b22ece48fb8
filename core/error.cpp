#include "core/error.h"

namespace medfusion::core {

std::string describe(const Place& place, const std::string& message) {
  std::string text = place.file;
  if (place.line > 0) text += fmt::format(":{}", place.line);
  if (place.column > 0) text += fmt::format(":{}", place.column);
  return text.empty() ? message : text + ": " + message;
}

void throw_input_error(const Place& place, const std::string& message) {
  throw InputError(describe(place, message));
}

void throw_check_failed(const char* file, int line, const char* condition, const std::string& message) {
  throw Error(fmt::format("{} (check `{}` failed at {}:{})", message, condition, file, line));
}

}  // namespace medfusion::core
