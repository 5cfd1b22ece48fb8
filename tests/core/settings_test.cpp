#include "core/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "core/error.h"

namespace medfusion::core {
namespace {

using testing::ElementsAre;

enum class Shade : uint8_t { light, dark };
constexpr std::array kShades{"light", "dark"};
constexpr Names names_of(Shade) { return kShades; }

struct Paint {
  Shade shade = Shade::dark;
  double gloss = 0.5;
  std::vector<int64_t> coats = {2};

  void visit_fields(FieldVisitor& visit) {
    visit("shade", shade, "How dark.");
    visit("gloss", gloss, Range::below(0, 1), "How shiny.");
    visit("coats", coats, Range::at_least(1), "How often.");
  }
};

struct House {
  bool door = true;
  Paint paint;

  void visit_fields(FieldVisitor& visit) {
    visit("door", door, "A way in.");
    visit.section("paint", paint);
  }
};

TEST(Settings, FieldsStandInTheirSectionsInOrder) {
  House house;
  std::vector<std::string> names, types;
  for (const Field& field : fields_of(house)) {
    names.push_back(field.name);
    types.push_back(field.type());
  }
  EXPECT_THAT(names, ElementsAre("door", "paint.shade", "paint.gloss", "paint.coats"));
  EXPECT_THAT(types, ElementsAre("boolean", "text", "number", "list of integers"));
  const std::vector<Field> fields = fields_of(house);
  EXPECT_EQ(fields[0].section(), "");
  EXPECT_EQ(fields[1].section(), "paint");
  EXPECT_THAT(fields[1].range.choices, ElementsAre("light", "dark"));
  *std::get<Choice>(fields[1].value).value = 0;
  EXPECT_EQ(house.paint.shade, Shade::light);
  EXPECT_STREQ(text_of(house.paint.shade), "light");
}

TEST(Settings, RangesHoldWhatTheySay) {
  EXPECT_TRUE(Range::below(0, 1).holds(0.0));
  EXPECT_FALSE(Range::below(0, 1).holds(1.0));
  EXPECT_TRUE(Range::in(0, 1).holds(1.0));
  EXPECT_FALSE(Range::above_to(0, 1).holds(0.0));
  EXPECT_FALSE(Range::at_least(0).holds(std::nan("")));
  EXPECT_FALSE(Range{}.holds(INFINITY));
  EXPECT_TRUE(Range{}.holds("anything"));
  EXPECT_FALSE(Range::one_of({"a", "b"}).holds("c"));
  EXPECT_EQ(Range::below(0, 1).text(), "in [0, 1)");
  EXPECT_EQ(Range::above_to(0, 10).text(), "in (0, 10]");
  EXPECT_EQ(Range::above(0).text(), "above 0");
  EXPECT_EQ(Range::at_least(1).text(), "at least 1");
  EXPECT_EQ(Range::one_of({"a", "b"}).text(), "one of a, b");
}

TEST(Settings, ValuesOutOfRangeAreRefused) {
  const auto message = [](const Paint& paint) -> std::string {
    try {
      check_ranges(paint, "paint");
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.gloss = 1.0}), "paint: gloss: expected number in [0, 1), got 1");
  EXPECT_EQ(message({.coats = {1, 0}}), "paint: coats: expected list of integers at least 1, got 0");
  EXPECT_EQ(message({.shade = static_cast<Shade>(2)}),
            "paint: shade: expected text one of light, dark, got 2");
}

}  // namespace
}  // namespace medfusion::core
