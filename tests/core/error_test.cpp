#include "core/error.h"

#include <gtest/gtest.h>

namespace medfusion::core {
namespace {

std::string message_of(const Place& place, const std::string& message) {
  try {
    throw_input_error(place, message);
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(InputErrors, NameThePlaceThatIsKnown) {
  EXPECT_EQ(message_of({"a.csv", 3, 2}, "expected a number"), "a.csv:3:2: expected a number");
  EXPECT_EQ(message_of({"a.csv"}, "expected a number"), "a.csv: expected a number");
  EXPECT_EQ(message_of({}, "expected a number"), "expected a number");
}

// A cell or a name that a message quotes may hold anything: line ends, a zero byte, commands for the
// terminal.
TEST(InputErrors, AreOneLineOfPrintableCharactersWhateverTheyQuote) {
  EXPECT_EQ(message_of({"a\nb.csv", 1}, std::string("got '1\r\n2\t3\0 \x1B[2J\x7F' é", 19)),
            "a b.csv:1: got '1  2 3   [2J '");
  EXPECT_EQ(message_of({}, "é"), "é");
}

}  // namespace
}  // namespace medfusion::core
