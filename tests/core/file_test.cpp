#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"

namespace medfusion::core {
namespace {

namespace fs = std::filesystem;

class WriteFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / "write_file_test";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string read(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  int64_t files() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }

  fs::path folder_;
};

TEST_F(WriteFile, ReplacesTheWholeFile) {
  const std::string path = folder_ / "file";
  write_file(path, "a longer first content");
  const std::string bytes("with\0zero\n", 10);
  write_file(path, bytes);
  EXPECT_EQ(read(path), bytes);
  EXPECT_EQ(files(), 1);
}

TEST_F(WriteFile, NamesTheFileAndTheReason) {
  const std::string path = folder_ / "missing" / "file";
  EXPECT_THAT([&] { write_file(path, "x"); },
              ::testing::ThrowsMessage<Error>(::testing::StartsWith(path + ": cannot write: No such file")));
}

TEST_F(WriteFile, LeavesNothingBehindWhenItFails) {
  const fs::path taken = folder_ / "taken";  // a folder that is not empty cannot be replaced by a file
  fs::create_directories(taken / "inside");
  EXPECT_THROW(write_file(taken, "x"), Error);
  EXPECT_EQ(files(), 1);
  EXPECT_TRUE(fs::exists(taken / "inside"));
}

TEST_F(WriteFile, WritesThroughLinksAndToWhatIsNoFile) {
  const fs::path target = folder_ / "target", link = folder_ / "link";
  write_file(target, "before");
  fs::create_symlink("target", link);
  write_file(link, "after");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read(target), "after");
  EXPECT_EQ(files(), 2);
  fs::create_symlink("/dev/null", folder_ / "nothing");
  write_file(folder_ / "nothing", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "nothing"));
}

TEST_F(WriteFile, ReportsAFullDisk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const fs::path path = folder_ / "full";
  fs::create_symlink("/dev/full", path.string() + ".partial");
  EXPECT_THAT([&] { write_file(path, std::string(100000, 'x')); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("No space left on device")));
  EXPECT_EQ(files(), 0);
}

TEST_F(WriteFile, PiecesBecomeOneFileWhenTheyAreComplete) {
  const fs::path path = folder_ / "file";
  std::string all;
  {
    WholeFile file(path, true);
    for (const size_t size : {size_t{3}, size_t{300000}, size_t{1}, size_t{200000}, size_t{100000}}) {
      const std::string piece(size, static_cast<char>('a' + all.size() % 26));
      file.write(piece.data(), static_cast<int64_t>(piece.size()));
      all += piece;
    }
    EXPECT_FALSE(fs::exists(path));
    file.commit();
  }
  EXPECT_EQ(read(path), all);
  { WholeFile(path).write("lost", 4); }
  EXPECT_EQ(read(path), all);
  EXPECT_EQ(files(), 1);
}

TEST_F(WriteFile, MakesAFolderOrSaysThatItCannot) {
  EXPECT_TRUE(make_folder(folder_ / "new"));
  EXPECT_TRUE(fs::is_directory(folder_ / "new"));
  EXPECT_TRUE(make_folder(folder_ / "new"));
  EXPECT_FALSE(make_folder(folder_ / "missing" / "new"));
  write_file(folder_ / "file", "x");
  EXPECT_FALSE(make_folder(folder_ / "file"));
}

TEST_F(WriteFile, AppendsOrLeavesTheFileAsItWas) {
  const fs::path path = folder_ / "file";
  append_file(path, "one\n");
  append_file(path, "two\n", true);
  EXPECT_EQ(read(path), "one\ntwo\n");
  EXPECT_THROW(append_file(folder_ / "missing" / "file", "x"), Error);
  EXPECT_TRUE(remove_file(path));
  EXPECT_FALSE(remove_file(path));
}

TEST_F(WriteFile, ALastingFileStaysUntilItIsWhole) {
  const std::string path = folder_ / "file", bytes("ab\0\0ef", 6);
  {
    LastingFile file(path, 6, true);
    file.write_at(4, "ef", 2);
    EXPECT_THAT([&] { LastingFile(path, 6, true); },
                ::testing::ThrowsMessage<InputError>(path + ".partial: another medfusion is writing here"));
  }
  EXPECT_EQ(read(path + ".partial"), std::string("\0\0\0\0ef", 6));
  LastingFile file(path, 6, true);
  file.write_at(0, "ab", 2);
  file.commit();
  EXPECT_EQ(read(path), bytes);
  EXPECT_EQ(files(), 1);
  LastingFile other(path, 3, true);
  other.write_at(0, "xyz", 3);
  other.clear();
  EXPECT_EQ(read(other.partial()), std::string(3, '\0'));
  EXPECT_EQ(read(path), bytes) << "the old file was touched";
  EXPECT_THAT([&] { LastingFile(folder_ / "none" / "file", 1, true); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("cannot write: No such file")));
}

}  // namespace
}  // namespace medfusion::core
