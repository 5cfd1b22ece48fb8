// Reads every include between the rooms of a folder: which rooms there are, and what each may include, is
// here and in docs/architecture.md. A folder's own files may include any of its rooms, and every room may
// include them.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/core/sources.h"

namespace {

using Rooms = std::map<std::string, std::set<std::string>>;

// kernels/ is apart: a room per operation, which needs no line here.
const Rooms kRooms = {
    {"data/images", {}},
    {"data/phantom", {"data/images"}},
    {"data/readers", {"data/images"}},
    {"data/statistics", {}},
    {"data/table", {"data/statistics"}},
    {"data/text", {}},
    {"layers/functional", {}},
    {"models/convnext", {}},
    {"models/densenet", {}},
    {"models/efficientnet", {}},
    {"models/medfusionnet", {}},
    {"models/resnet", {}},
    {"models/vit", {}},
    {"tools/evaluation/explain", {}},
    {"tools/evaluation/measures", {}},
    {"tools/evaluation/report", {"tools/evaluation/measures"}},
    {"tools/medfusion/config", {"tools/evaluation/measures"}},
    {"tools/medfusion/run",
     {"tools/evaluation/measures", "tools/evaluation/explain", "tools/medfusion/config"}},
    {"tools/medfusion/study", {"tools/evaluation/measures", "tools/medfusion/config", "tools/medfusion/run"}},
    {"tools/medfusion/workshop", {"tools/evaluation/report", "tools/medfusion/config"}},
    {"tools/medfusion/commands",
     {"tools/evaluation/measures", "tools/evaluation/explain", "tools/evaluation/report",
      "tools/medfusion/config", "tools/medfusion/run", "tools/medfusion/study", "tools/medfusion/workshop"}},
};

// The room of a file, or its folder where it lies in none.
std::string room_of(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

bool is_allowed(const std::string& path, const std::string& target) {
  const std::string from = room_of(path), to = room_of(target);
  if (from == to || to.find('/') == std::string::npos ||
      from.substr(0, from.find('/')) != to.substr(0, to.find('/')))
    return true;  // the arrows between folders have a test of their own
  if (from.starts_with("kernels/")) {
    if (from == "kernels/simulator") return false;
    if (to == "kernels/simulator") return from == "kernels/gpu" || from == "kernels/workshop";
    return to != "kernels/workshop" || path.ends_with("_cases.cpp");
  }
  return from.find('/') == std::string::npos || from == "tools/medfusion" || kRooms.at(from).contains(to);
}

std::vector<std::string> room_complaints(const std::string& path, const std::string& text) {
  std::vector<std::string> found;
  const std::string room = room_of(path);
  const bool known = room.find('/') == std::string::npos || room.starts_with("kernels/") ||
                     room == "tools/medfusion" || kRooms.contains(room);
  if (!known) return {path + ": no room of this name is known"};
  static const std::regex include("#[ \t]*include[ \t]*\"([^\"]+)\"");
  for (std::sregex_iterator at(text.begin(), text.end(), include), end; at != end; ++at) {
    if (!is_allowed(path, (*at)[1])) found.push_back(path + ": must not include " + std::string((*at)[1]));
  }
  return found;
}

TEST(Rooms, EveryIncludeFollowsTheirArrows) {
  for (const auto& [path, text] : medfusion::sources()) {
    if (path.starts_with("tests/") || path.starts_with("bench/")) continue;
    for (const auto& complaint : room_complaints(path, text)) ADD_FAILURE() << complaint;
  }
}

TEST(Rooms, AForbiddenArrowIsFound) {
  const auto count = [](const std::string& path, const std::string& target) {
    return room_complaints(path, "#include \"" + target + "\"\n").size();
  };
  EXPECT_EQ(count("data/table/a.h", "data/statistics/b.h"), 0U);
  EXPECT_EQ(count("data/statistics/a.h", "data/table/b.h"), 1U);
  EXPECT_EQ(count("data/table/a.h", "data/dataset.h"), 0U);
  EXPECT_EQ(count("data/open.cpp", "data/readers/nih.h"), 0U);
  EXPECT_EQ(count("data/somewhere/a.h", "data/dataset.h"), 1U);
  EXPECT_EQ(count("kernels/softmax/softmax_cases.cpp", "kernels/workshop/op_case.h"), 0U);
  EXPECT_EQ(count("kernels/softmax/softmax_simt.cu", "kernels/workshop/op_case.h"), 1U);
  EXPECT_EQ(count("kernels/softmax/softmax_simt.cu", "kernels/simulator/runtime.h"), 1U);
  EXPECT_EQ(count("kernels/simulator/runtime.cpp", "kernels/gpu/device.cuh"), 1U);
  EXPECT_EQ(count("tools/medfusion/config/a.h", "tools/medfusion/run/b.h"), 1U);
  EXPECT_EQ(count("tools/medfusion/commands/a.h", "tools/medfusion/run/b.h"), 0U);
}

}  // namespace
