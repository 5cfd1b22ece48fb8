// Errors: what went wrong, where, and which exit code it means.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace medfusion::core {

// A failure at run time. The program exits with code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A device has no memory left. What was cached may be given back and the call repeated.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// Bad input from the user: a file, a cell of a table, a configuration key. The program exits with code 2.
class InputError : public Error {
 public:
  using Error::Error;
};

// Where in a user's file something is wrong. Line and column count from 1; 0 means "not known".
struct Place {
  std::string file;
  int64_t line = 0;
  int64_t column = 0;
};

// "file:line:column: message", leaving out what is 0 or empty.
std::string describe(const Place& place, const std::string& message);

// Throws InputError with "file:line:column: message".
[[noreturn]] void throw_input_error(const Place& place, const std::string& message);
template <class First, class... Rest>  // the message as an fmt format string and its arguments
[[noreturn]] void throw_input_error(const Place& place, fmt::format_string<First, Rest...> message,
                                    First&& first, Rest&&... rest) {
  throw_input_error(place, fmt::format(message, std::forward<First>(first), std::forward<Rest>(rest)...));
}

[[noreturn]] void throw_check_failed(const char* file, int line, const char* condition,
                                     const std::string& message);

}  // namespace medfusion::core

// Throws core::Error in every build type when `condition` is false. The rest is an fmt format string and
// its arguments: name the operation, what was expected and what came.
#define MEDFUSION_CHECK(condition, ...)                                                                  \
  do {                                                                                                   \
    if (!(condition)) [[unlikely]] {                                                                     \
      ::medfusion::core::throw_check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
    }                                                                                                    \
  } while (false)
