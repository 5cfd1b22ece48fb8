// Every row of the bad-input table: one line, the right exit code, and nothing lost. The page that shows the
// table is compared with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/png_bytes.h"
#include "tests/tools/bad_input_table.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

// A chapter of the table.
struct BadInputChapter {
  std::string title;
  std::vector<BadInputCase> cases;
};

std::vector<BadInputChapter> chapters() {
  return {{"Images", image_cases()},
          {"Tables", table_cases()},
          {"Arrays", array_cases()},
          {"Packed images", pack_cases()},
          {"Weights", weights_cases()},
          {"Configurations", settings_cases()},
          {"Runs", run_cases()},
          {"Outputs", output_cases()},
          {"Rows that are left out", skip_cases()}};
}

void add_configurations(const fs::path& folder) {
  const std::string small = kTinySettings;
  write(folder / "tiny.toml",
        "threads = 1\n[data]\nformat = \"phantom\"\nroot = \"phantom\"\nval_fraction = 0.25\n" + small);
  write(folder / "csv.toml",
        "threads = 1\n[data]\nformat = \"csv\"\nroot = \"set\"\nfile = \"table.csv\"\nimages = \"photo\"\n"
        "image_column = \"image\"\nlabels = [\"sick\"]\n" +
            small);
  write(folder / "npz.toml",
        "threads = 1\n[data]\nformat = \"medmnist\"\nroot = \"set\"\nfile = \"chest.npz\"\n" + small);
}

// The folder of BadInputCase, whole.
class BadInputTable : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const fs::path& folder = folder_->path();
    add_configurations(folder);
    std::string table = "image,sick,age\n";
    fs::create_directories(folder / "set/photo");
    for (int i = 0; i < 20; ++i) {
      table +=
          std::to_string(i) + ".png," + std::to_string(i % 2) + "," + std::to_string(30 + i * i % 7) + "\n";
      write(folder / "set/photo" / (std::to_string(i) + ".png"), data::black_png(32 + i, 32));
    }
    write(folder / "set/table.csv", table);
    fs::copy(fs::path(MEDFUSION_SOURCE_DIR) / "tests/fixtures/medmnist/classes.npz",
             folder / "set/chest.npz");
    succeed({"synth", "--out", (folder / "phantom").string(), "--images", "48", "--size", "32", "--quiet"});
    const Outcome trained = run_in(folder, {"train", "tiny.toml", "--out", "run", "--quiet"});
    ASSERT_EQ(trained.code, 0) << trained.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* BadInputTable::folder_ = nullptr;

std::vector<std::string> command_words(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// Whether the text is the pattern, in which "..." stands for any characters.
bool is_like(std::string_view text, std::string_view pattern) {
  const size_t dots = pattern.find("...");
  if (dots == std::string_view::npos) return text == pattern;
  if (!text.starts_with(pattern.substr(0, dots))) return false;
  text.remove_prefix(dots);
  pattern.remove_prefix(dots + 3);
  for (size_t at = 0; at <= text.size(); ++at) {
    if (is_like(text.substr(at), pattern)) return true;
  }
  return false;
}

void expect_row(const BadInputCase& row, const fs::path& whole) {
  SCOPED_TRACE(row.name + ": medfusion " + row.command);
  const TemporaryFolder copy;
  fs::copy(whole, copy.path(), fs::copy_options::recursive);
  row.make(copy.path());
  const Files before = files_in(copy.path());
  const Outcome outcome = run_in(copy.path(), command_words(row.command));
  EXPECT_EQ(outcome.code, row.code);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(is_like(outcome.err, "medfusion: " + row.message + "\n"))
      << "got      " << outcome.err << "expected medfusion: " << row.message;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
  EXPECT_TRUE(files_in(copy.path()) == before) << "files were changed";
}

// Text as a cell of a table in Markdown.
std::string markdown_cell(std::string text) {
  for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2))
    text.insert(at, "\\");
  constexpr size_t kLongest = 240;
  return text.size() > kLongest ? text.substr(0, 20) + "..." : text;
}

std::string page_of(const std::vector<BadInputChapter>& all) {
  std::string page;
  for (const auto& [title, cases] : all) {
    page += "## " + title +
            "\n\n| what is wrong | how it is made | command | exit | message |\n|---|---|---|---|---|\n";
    for (const BadInputCase& row : cases) {
      page += "| " + row.name + " | " + markdown_cell(row.made) + " | `" + markdown_cell(row.command) +
              "` | " + std::to_string(row.code) + " | `" + markdown_cell(row.message) + "` |\n";
    }
    page += "\n";
  }
  page.pop_back();
  return page;
}

class BadInputRows : public BadInputTable, public testing::WithParamInterface<size_t> {};

TEST_P(BadInputRows, OneLineAndNothingLost) {
  const BadInputChapter chapter = chapters().at(GetParam());
  for (const BadInputCase& row : chapter.cases) expect_row(row, folder_->path());
}

INSTANTIATE_TEST_SUITE_P(Chapters, BadInputRows, testing::Range(size_t{0}, size_t{9}));

TEST(BadInputPage, ShowsTheTable) {
  const std::string page = contents(fs::path(MEDFUSION_SOURCE_DIR) / "docs/bad-input.md");
  const std::string table = page_of(chapters());
  ASSERT_EQ(chapters().size(), 9U);
  const size_t first = page.find("## Images");
  ASSERT_NE(first, std::string::npos) << table;
  EXPECT_EQ(page.substr(first), table) << table;
}

// The undamaged folder is taken by the commands that refuse the damaged ones.
TEST_F(BadInputTable, WithoutDamageNothingIsRefused) {
  for (const char* command :
       {"data csv.toml --quiet", "data npz.toml --quiet", "train csv.toml --out new --quiet",
        "report run --quiet", "predict run --images set/photo --out p.csv --quiet",
        "eval run --out e --quiet", "train tiny.toml --out again --init run/best.safetensors --quiet",
        "features csv.toml --out f --quiet",
        "init --table set/table.csv --images set/photo --out c.toml --quiet"}) {
    const Outcome outcome = run_in(folder_->path(), command_words(command));
    EXPECT_EQ(outcome.code, 0) << command << ": " << outcome.err;
  }
}

}  // namespace
}  // namespace medfusion::tools
