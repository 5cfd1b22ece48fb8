// A setting lives once: one that is added to a struct is found everywhere, and no default stands twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <sstream>

#include "tests/tools/program.h"
#include "tools/medfusion/config/config.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The losses with one more setting, in a configuration of its own.
struct MoreLosses : layers::LossOptions {
  double hinge_margin = 0.75;

  void visit_fields(core::FieldVisitor& visit) {
    LossOptions::visit_fields(visit);
    visit("hinge_margin", hinge_margin, core::Range::below(0, 1), "Margin of `hinge`.");
  }
};

struct MoreSettings {
  Config config;
  MoreLosses more;

  void visit_fields(core::FieldVisitor& visit) {
    config.visit_fields(visit);
    visit.section("more", more);
  }
};

class MoreReader : public SettingsReader {
 public:
  MoreSettings settings;

 private:
  std::vector<core::Field> fields() override { return core::fields_of(settings); }
};

std::string error_of(const std::string& assignment) {
  try {
    MoreReader reader;
    reader.set(assignment);
  } catch (const core::InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Settings, OneThatIsAddedIsFoundInSetTheFileAndThePage) {
  MoreReader reader;
  const std::string page = describe_fields(core::fields_of(reader.settings));
  EXPECT_THAT(page,
              HasSubstr("\n| `more.hinge_margin` | number, in [0, 1) | `0.75` | Margin of `hinge`. |\n"));
  reader.set("more.hinge_margin=0.25");
  EXPECT_EQ(reader.settings.more.hinge_margin, 0.25);
  const std::string file = to_toml(core::fields_of(reader.settings));
  EXPECT_THAT(file, HasSubstr("\nhinge_margin = 0.25\n"));
  MoreReader again;
  again.read_text(file, "config.toml");
  EXPECT_EQ(again.settings.more.hinge_margin, 0.25);
  EXPECT_EQ(error_of("more.hinge_margin=1"),
            "--set more.hinge_margin=1: more.hinge_margin: expected number in [0, 1), got integer 1");
  EXPECT_EQ(error_of("more.hinge_margn=0.5"),
            "--set more.hinge_margn=0.5: unknown key more.hinge_margn; did you mean more.hinge_margin?");
}

// A run of before this setting.
TEST(Settings, AFileWithoutASettingLeavesItsDefault) {
  Config config;
  MoreReader reader;
  reader.read_text(to_toml(config), "config.toml");
  EXPECT_EQ(reader.settings.more.hinge_margin, 0.75);
}

// Text of headers, by path from the root.
using Headers = std::map<std::string, std::string>;

// The members that settings are kept in, with how many settings are.
std::map<std::string, int> setting_members(const Headers& headers) {
  static const std::regex visit("visit\\(\"[a-z0-9_.]+\",\\s*([a-z0-9_.]+)");
  std::map<std::string, int> members;
  for (const auto& [path, text] : headers) {
    for (std::sregex_iterator at(text.begin(), text.end(), visit), end; at != end; ++at) {
      const std::string whole = (*at)[1];
      ++members[whole.substr(whole.rfind('.') + 1)];
    }
  }
  return members;
}

// How many declarations give a member a value other than "off".
std::map<std::string, int> initialized_members(const Headers& headers) {
  static const std::regex member("[^.>\\w](\\w+)(?: = |\\{)(?!0[;,]|0\\.0[;,]|false[;,]|\\{|-1)[^,;]");
  std::map<std::string, int> given;
  for (const auto& [path, text] : headers) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      line = line.substr(0, line.find("//"));
      const size_t first = std::min(line.find_first_not_of(' '), line.size());
      const bool is_text = line.find("visit(") != std::string::npos || line[first] == '"';
      const bool is_local = line.compare(first, 6, "const ") == 0;  // or a parameter
      if (is_text || is_local || !line.starts_with(" ") || line.find('=') == std::string::npos) continue;
      for (std::sregex_iterator at(line.begin(), line.end(), member), end; at != end; ++at) ++given[(*at)[1]];
    }
  }
  return given;
}

// The members of settings that get a value in more places than there are settings of that name.
std::vector<std::string> defaults_given_twice(const Headers& headers) {
  std::vector<std::string> found;
  std::map<std::string, int> given = initialized_members(headers);
  for (const auto& [member, settings] : setting_members(headers))
    if (given[member] > settings) found.push_back(member);
  return found;
}

TEST(Settings, NoDefaultStandsTwice) {
  Headers headers;
  for (const char* folder : {"core", "data", "layers", "models", "optim", "tools"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(std::string(MEDFUSION_SOURCE_DIR "/") + folder)) {
      if (entry.path().extension() == ".h") headers[entry.path().string()] = contents(entry.path());
    }
  }
  EXPECT_GT(setting_members(headers).size(), 80U);
  // Words that name other things as well, such as what was drawn for an image, the momentum of a batch norm,
  // the phantom's images and their size, an axis' bounds, the seed that a part is handed, and what risk
  // levels reached.
  EXPECT_THAT(defaults_given_twice(headers),
              testing::IsSubsetOf({"attention", "bins", "contrast", "gamma", "high", "images", "kind", "low",
                                   "method", "momentum", "ppv", "precision", "scale", "seed", "sensitivity",
                                   "size", "text", "threshold"}));
}

TEST(Settings, ADefaultThatStandsTwiceIsFound) {
  const std::string owner =
      "struct A {\n  double gamma = 2.0;\n  visit(\"focal_gamma\", gamma, \"x\");\n};\n";
  EXPECT_THAT(defaults_given_twice({{"a.h", owner}}), ElementsAre());
  EXPECT_THAT(defaults_given_twice({{"a.h", owner}, {"b.h", "struct B {\n  double gamma = 3.0;\n};\n"}}),
              ElementsAre("gamma"));
  EXPECT_THAT(defaults_given_twice({{"a.h", owner}, {"b.h", "struct B {\n  double gamma = 0.0;\n};\n"}}),
              ElementsAre());
}

}  // namespace
}  // namespace medfusion::tools
