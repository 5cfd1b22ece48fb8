// What the fuzz targets share (docs/fuzzing.md). A target feeds bytes to a reader of the program. Two answers
// are right: the reader returns, or it throws core::InputError with one line. Everything else ends the
// process, and libFuzzer reports it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

// Of libFuzzer: changes `size` bytes in place, up to `limit` of them, and returns their new count.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t limit);

namespace medfusion::fuzz {

using Bytes = std::vector<uint8_t>;

inline std::string_view text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A file in memory that holds `bytes`, by its path. There is one: the next call replaces its content.
const std::string& file_of(std::span<const uint8_t> bytes);

// The pieces of an input between zero bytes: the first one, then the others.
std::vector<std::string_view> pieces_of(std::span<const uint8_t> bytes);

[[noreturn]] inline void report(const std::string& what) {
  std::fprintf(stderr, "FOUND: %s\n", what.c_str());
  std::abort();
}

// Reports what takes more than 10 seconds of processor time, which other work on the machine does not count
// to.
class Stopwatch {
 public:
  ~Stopwatch() {
    if (std::clock() - start_ > 10 * CLOCKS_PER_SEC) report("an answer takes more than 10 seconds");
  }

 private:
  std::clock_t start_ = std::clock();
};

// Whether `read` returns; false where it refuses its input.
template <class Function>
bool accepts(const Function& read) {
  const Stopwatch stopwatch;
  try {
    read();
    return true;
  } catch (const core::InputError& error) {
    const std::string_view message = error.what();
    if (message.empty() || message.find('\n') != std::string_view::npos)
      report("a refusal is one line, got '" + std::string(message) + "'");
  } catch (const std::exception& error) {
    report(std::string("bad input is refused by an InputError, got '") + error.what() + "'");
  }
  return false;
}

// A source of choices for mutators, the same for the same seed.
class Choices {
 public:
  explicit Choices(unsigned seed) : state_(seed * 2654435769U + 1) {}
  // In [0, count); count is at least 1.
  size_t below(size_t count) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<size_t>(state_ % count);
  }
  bool one_in(size_t count) { return below(count) == 0; }
  template <class T>
  const T& of(const std::vector<T>& values) {
    return values[below(values.size())];
  }

 private:
  uint64_t state_;
};

// `bytes` changed as libFuzzer likes, by at most `growth` more.
Bytes mutated(Bytes bytes, size_t growth);

// Stores `bytes` as the result of a mutator. Where they do not fit, the input is changed without regard to
// its structure instead.
size_t stored(const Bytes& bytes, uint8_t* data, size_t size, size_t limit);

// Changes a value, a key or the place of a part of the JSON in `text`; empty where the
// program takes that for no JSON.
std::string mutated_json(std::string_view text, Choices& choices);

}  // namespace medfusion::fuzz
