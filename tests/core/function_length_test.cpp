// Reads every function of tools/ and data/: none is longer than 60 lines.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/core/sources.h"

namespace {

constexpr size_t kMostLines = 60;

struct Function {
  std::string head;  // its first line
  size_t line = 0;   // where it begins, counted from 1
  size_t lines = 0;
};

// The lines of a file that layout tells something of: the rest of a raw string and preprocessor lines are
// empty.
std::vector<std::string> plain_lines(const std::string& text) {
  static const std::regex raw_string("R\"([^ ()\\\\]*)\\(");
  std::vector<std::string> lines;
  std::string raw_end;  // of the raw string that the line before left open
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const bool inside = !raw_end.empty();
    if (inside && line.find(raw_end) != std::string::npos) raw_end.clear();
    std::smatch match;
    if (!inside && std::regex_search(line, match, raw_string)) {
      const std::string end = ")" + match[1].str() + "\"";
      if (line.find(end, static_cast<size_t>(match.position() + match.length())) == std::string::npos)
        raw_end = end;
    }
    lines.push_back(inside || line.starts_with('#') ? "" : line);
  }
  return lines;
}

size_t indentation(const std::string& line) { return std::min(line.find_first_not_of(' '), line.size()); }

// Whether a block that begins with these lines is a function: it has parameters before its brace, and is no
// statement of a function nor a type.
bool is_function(const std::vector<std::string>& lines, size_t begin, size_t end) {
  static const std::set<std::string> others = {"if",     "for",       "while",  "switch", "do",
                                               "case",   "else",      "return", "class",  "enum",
                                               "struct", "namespace", "union"};
  std::string word;
  std::istringstream(lines[begin]) >> word;
  if (word.starts_with("}") || others.contains(word)) return false;
  for (size_t i = begin; i < end; ++i) {
    const size_t brace = lines[i].find('{');
    if (lines[i].substr(0, brace).find('(') != std::string::npos) return true;
    if (brace != std::string::npos) return false;
  }
  return false;
}

// By the layout of clang-format: what lies between a line and the next one that is not indented more belongs
// to the first, and a function ends with a brace alone on its line. Functions of one line are left out.
std::vector<Function> functions_of(const std::string& text) {
  const std::vector<std::string> lines = plain_lines(text);
  std::vector<Function> functions;
  for (size_t begin = 0; begin < lines.size(); ++begin) {
    if (lines[begin].empty()) continue;
    const size_t depth = indentation(lines[begin]);
    size_t end = begin + 1;
    while (end < lines.size() && (lines[end].empty() || indentation(lines[end]) > depth)) ++end;
    if (end == lines.size() || end == begin + 1) continue;
    const std::string brace = std::string(depth, ' ') + "}";
    const bool closed = lines[end] == brace || lines[end] == brace + ";";
    if (closed && is_function(lines, begin, end))
      functions.push_back({lines[begin].substr(depth), begin + 1, end - begin + 1});
  }
  return functions;
}

std::vector<std::string> length_complaints(const std::string& path, const std::string& text) {
  std::vector<std::string> found;
  for (const Function& function : functions_of(text)) {
    if (function.lines <= kMostLines) continue;
    found.push_back(path + ":" + std::to_string(function.line) + ": " + std::to_string(function.lines) +
                    " lines, expected at most " + std::to_string(kMostLines) + ": " + function.head);
  }
  return found;
}

TEST(FunctionLength, NoFunctionOfToolsAndDataIsLongerThanAScreen) {
  size_t functions = 0;
  for (const auto& [path, text] : medfusion::sources()) {
    if (!path.starts_with("tools/") && !path.starts_with("data/")) continue;
    functions += functions_of(text).size();
    for (const auto& complaint : length_complaints(path, text)) ADD_FAILURE() << complaint;
  }
  EXPECT_GT(functions, 1000U);
}

std::string repeated(size_t count, const std::string& line) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += line;
  return text;
}

TEST(FunctionLength, ALongFunctionIsFound) {
  const auto function = [](size_t statements) {
    return "int f(int a,\n      int b) {\n" + repeated(statements, "  ++a;\n") + "}\n";
  };
  EXPECT_EQ(length_complaints("tools/a.cpp", function(57)).size(), 0U);
  EXPECT_EQ(length_complaints("tools/a.cpp", "namespace a {\n\n" + function(58) + "\n}  // namespace a\n"),
            std::vector<std::string>{"tools/a.cpp:3: 61 lines, expected at most 60: int f(int a,"});
}

TEST(FunctionLength, MembersAreFoundAndOtherBlocksAreNot) {
  const std::string statements = repeated(70, "    ++a;\n");
  const std::string member =
      "struct A {\n  A(int b)\n      : a{b} {\n" + statements + "  }\n\n  int a = 0;\n};\n";
  EXPECT_EQ(length_complaints("data/a.h", member).size(), 1U);
  const std::string lambda = "void f() {\n  const auto g = [] {\n" + repeated(25, "    ++a;\n") + "  };\n" +
                             repeated(25, "  g();\n") + "  if (a > 0) {\n" + statements + "  }\n}\n";
  EXPECT_EQ(length_complaints("data/a.cpp", lambda).size(), 1U);
  const std::string list = "constexpr int kList[] = {\n" + repeated(70, "    1,\n") + "};\n";
  EXPECT_EQ(length_complaints("data/a.cpp", list).size(), 0U);
  // Text of a raw string and preprocessor lines say nothing of where a function ends.
  const std::string text = "void f() {\n  g(R\"x(\n}\n" + repeated(70, "text\n") + ")x\");\n#endif\n}\n";
  EXPECT_EQ(length_complaints("data/a.cpp", text).size(), 1U);
}

}  // namespace
