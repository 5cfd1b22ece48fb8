// Reads every include of the project: the folders and the arrows between them are those of
// docs/architecture.md. And what headers must not hold.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/core/sources.h"

namespace {

using Arrows = std::map<std::string, std::set<std::string>>;

// What each folder may include besides itself: core <- kernels <- layers <- models <- optim <- tools and
// core <- data <- optim. tests and bench may include everything.
const Arrows& allowed() {
  static const Arrows arrows = {
      {"core", {}},
      {"kernels", {"core"}},
      {"layers", {"core", "kernels"}},
      {"models", {"core", "kernels", "layers"}},
      {"data", {"core"}},
      {"optim", {"core", "kernels", "layers", "models", "data"}},
      {"tools", {"core", "kernels", "layers", "models", "data", "optim"}},
      {"tests", {"core", "kernels", "layers", "models", "data", "optim", "tools"}},
      {"bench", {"core", "kernels", "layers", "models", "data", "optim", "tools"}},
      {"docs", {}},
  };
  return arrows;
}

// The complaints about one file, given as its path from the root and its text.
std::vector<std::string> arrow_complaints(const std::string& path, const std::string& text) {
  std::vector<std::string> found;
  const std::string folder = path.substr(0, path.find('/'));
  if (!allowed().contains(folder))
    return {path + ": top-level folder '" + folder + "' is not one of the design's"};
  static const std::regex include("^[ \t]*#[ \t]*include[ \t]*\"([^\"]+)\"");
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::smatch match;
    if (!std::regex_search(line, match, include)) continue;
    const std::string target = match[1];
    const std::string to = target.substr(0, target.find('/'));
    if (target.find("..") != std::string::npos) found.push_back(path + ": relative include " + target);
    if (!allowed().contains(to) || to == folder || allowed().at(folder).contains(to)) continue;
    found.push_back(path + ":" + std::to_string(number) + ": " + folder + " must not include " + target);
  }
  return found;
}

// What a header would force on every file that includes it.
std::vector<std::string> header_complaints(const std::string& path, const std::string& text) {
  std::vector<std::string> found;
  if (!path.ends_with(".h") && !path.ends_with(".cuh")) return found;
  static const std::regex anonymous("^[ \t]*(inline[ \t]+)?namespace[ \t]*(\\{|$)"),
      directive("^[ \t]*using[ \t]+namespace[ \t]");
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string place = path + ":" + std::to_string(number) + ": ";
    if (std::regex_search(line, anonymous)) found.push_back(place + "a header has no anonymous namespace");
    if (std::regex_search(line, directive)) found.push_back(place + "a header has no `using namespace`");
  }
  return found;
}

TEST(IncludeArrows, EveryIncludeFollowsTheDesign) {
  for (const auto& [path, text] : medfusion::sources()) {
    for (const auto& complaint : arrow_complaints(path, text)) ADD_FAILURE() << complaint;
  }
  EXPECT_GT(medfusion::sources().size(), 300U);
}

TEST(Headers, HaveNamedNamespacesOnly) {
  for (const auto& [path, text] : medfusion::sources()) {
    for (const auto& complaint : header_complaints(path, text)) ADD_FAILURE() << complaint;
  }
  EXPECT_EQ(header_complaints("core/a.h", "namespace a {\nusing b::c;\n// using namespace d\n").size(), 0U);
  EXPECT_EQ(header_complaints("core/a.cpp", "namespace {\nusing namespace b;\n").size(), 0U);
  EXPECT_EQ(header_complaints("core/a.h", "namespace {\n").size(), 1U);
  EXPECT_EQ(header_complaints("core/a.h", "namespace a {\n namespace\n{\n").size(), 1U);
  EXPECT_EQ(header_complaints("kernels/a/a.cuh", "void f() {\n  using namespace b;\n}\n").size(), 1U);
}

TEST(IncludeArrows, AForbiddenArrowIsFound) {
  EXPECT_EQ(arrow_complaints("core/a.h", "#include \"core/b.h\"\n#include <vector>\n").size(), 0U);
  EXPECT_EQ(arrow_complaints("core/a.h", "#include \"kernels/b.h\"\n").size(), 1U);
  EXPECT_EQ(arrow_complaints("kernels/relu/a.cpp", "\n  #  include \"layers/b.h\"\n").size(), 1U);
  EXPECT_EQ(arrow_complaints("data/a.h", "#include \"kernels/b.h\"\n").size(), 1U);
  EXPECT_EQ(arrow_complaints("optim/a.h", "#include \"data/b.h\"\n#include \"models/c.h\"\n").size(), 0U);
  EXPECT_EQ(arrow_complaints("models/a.h", "#include \"data/b.h\"\n").size(), 1U);
  EXPECT_EQ(arrow_complaints("utils/a.h", "").size(), 1U);
}

}  // namespace
