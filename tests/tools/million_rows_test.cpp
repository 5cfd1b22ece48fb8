// A table of a million rows is read in the memory that docs/data.md states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/bad_input_table.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

TEST(MillionRows, AreReadInStatedMemory) {
  const TemporaryFolder folder;
  std::string table = "id,patient,sick,age,weight,site\n";
  for (int row = 0; row < 1'000'000; ++row) {
    const std::string number = std::to_string(row);
    table += "r" + number + ",p" + std::to_string(row / 3) + "," + std::to_string(row % 5 == 0) + "," +
             std::to_string(20 + row % 70) + "," + std::to_string(40 + row * 7 % 80) + ".5,site " +
             std::to_string(row % 3) + "\n";
  }
  write(folder / "table.csv", table);
  write(folder / "c.toml",
        "[data]\nformat = \"csv\"\nroot = \".\"\nfile = \"table.csv\"\nid_column = \"id\"\n"
        "patient_column = \"patient\"\nlabels = [\"sick\"]\n[model]\nmodalities.image = false\n"
        "branches.dense = false\nbranches.pyramid = false\nsize = \"tiny\"\n");
  const Outcome outcome = run_in(folder.path(), {"data", "c.toml", "--threads", "1"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::HasSubstr("1000000"));
  if (std::string_view(MEDFUSION_SANITIZE).empty()) {
    EXPECT_LT(outcome.peak_bytes, int64_t{1} << 30);
  } else {
    std::cout << "NOT TESTED: the memory, for sanitizers take some of their own\n";
  }
}

}  // namespace
}  // namespace medfusion::tools
