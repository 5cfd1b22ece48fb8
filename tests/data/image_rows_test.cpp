#include "data/image_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> ids_of(const std::vector<NamedImage>& images) {
  std::vector<std::string> ids;
  for (const NamedImage& image : images) ids.push_back(image.id);
  return ids;
}

TEST(ListImages, ReadsSubfoldersAndCountsWhatItLeavesOut) {
  const TemporaryFolder folder;
  for (const char* name : {"b.PNG", "a/x.jpeg", "a/b/x.jpeg", "a/x.png", "._b.png", "a/._x.jpeg", ".DS_Store",
                           "Thumbs.db", "a/notes.txt", ".git/c.png", "__MACOSX/._a.png"})
    folder.write(name, "");
  std::vector<std::string> notes;
  const auto images = list_images({folder.path()}, notes);
  EXPECT_THAT(ids_of(images), ElementsAre("a/b/x.jpeg", "a/x.jpeg", "a/x.png", "b.PNG"));
  EXPECT_EQ(images[0].path, folder.path("a/b/x.jpeg"));
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes[0],
              HasSubstr("images: 7 files or folders are left out (5 hidden, 2 not named .png, .jpg or "
                        ".jpeg), such as '"));
}

TEST(ListImages, LeavesOutLinksThatLeadNowhere) {
  const TemporaryFolder folder;
  folder.write("a.png", "");
  std::filesystem::create_symlink("loop.png", folder.path("loop.png"));
  std::filesystem::create_symlink("gone.png", folder.path("b.png"));
  std::vector<std::string> notes;
  EXPECT_THAT(ids_of(list_images({folder.path()}, notes)), ElementsAre("a.png"));
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes[0], HasSubstr("2 files or folders are left out (2 links that lead nowhere), such as '"));
}

TEST(ListImages, KeepsFilesByTheirNames) {
  const TemporaryFolder folder;
  const std::string a = folder.write("x/a.png", ""), b = folder.write("y/b.png", "");
  std::vector<std::string> notes;
  EXPECT_THAT(ids_of(list_images({b, folder.path("x") + "/"}, notes)), ElementsAre("b.png", "a.png"));
  EXPECT_THAT(notes, IsEmpty());
  const std::string other = folder.write("z/a.png", "");
  EXPECT_EQ(input_error([&] {
              list_images({a, other}, notes);
            }),
            other + ": expected images of different names, got 'a.png' also as " + a);
  std::filesystem::create_directory(folder.path("none"));
  EXPECT_THAT(input_error([&] { list_images({folder.path("none")}, notes); }),
              HasSubstr("expected PNG or JPEG files in this folder, got none"));
}

class RowsOfImages : public testing::Test {
 protected:
  std::vector<size_t> join(const std::vector<std::string>& ids, const std::vector<std::string>& rows) {
    std::vector<NamedImage> images;
    for (const std::string& id : ids) images.push_back({"/data/photos/" + id, id});
    notes_.clear();
    return rows_of_images(images, rows, "t.csv", notes_);
  }
  std::string error(const std::vector<std::string>& ids, const std::vector<std::string>& rows) {
    return input_error([&] { join(ids, rows); });
  }
  std::vector<std::string> notes_;
};

TEST_F(RowsOfImages, ByPath) {
  EXPECT_THAT(join({"q/a.png", "p/a.png", "b.png"}, {"b.png", "p/a.png", "./q//a.png"}),
              ElementsAre(2, 1, 0));
  EXPECT_THAT(join({"a.png"}, {"photos/b.png", "photos/a.png"}), ElementsAre(1));
  EXPECT_THAT(join({"p/a.png", "q/a.png"}, {"/mnt/x/q/a.png", "/mnt/x/p/a.png"}), ElementsAre(1, 0));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(RowsOfImages, ByIdWithoutExtension) {
  EXPECT_THAT(join({"s2.png", "s1.jpg"}, {"s1", "s2"}), ElementsAre(1, 0));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(error({"s1.png", "s1.jpg"}, {"s1"}),
            "t.csv: expected one image for row 's1', got 's1.png' and 's1.jpg'");
}

TEST_F(RowsOfImages, ByFileNameWhereOnlyOneHasIt) {
  EXPECT_THAT(join({"p/a.png", "p/b.png"}, {"b.png", "a.png"}), ElementsAre(1, 0));
  EXPECT_THAT(notes_, ElementsAre("2 of 2 images are joined with rows by their file names alone, such as "
                                  "'p/a.png' with 'a.png'"));
  EXPECT_THAT(join({"a.png"}, {"x/a.png"}), ElementsAre(0));
}

TEST_F(RowsOfImages, NeverByFileNameAgainstAPath) {
  EXPECT_EQ(
      error({"p/a.png"}, {"x/a.png"}),
      "t.csv: expected a row for image 'p/a.png', got one of this file name in another folder, 'x/a.png'");
  EXPECT_EQ(
      error({"p/a.png", "q/a.png"}, {"a.png"}),
      "t.csv: expected paths that tell the images of one file name apart, got row 'a.png' for 'p/a.png' "
      "and 'q/a.png'");
  EXPECT_EQ(
      error({"a.png"}, {"x/a.png", "y/a.png"}),
      "t.csv: expected paths that tell the rows of one file name apart, got 'x/a.png' and 'y/a.png' for "
      "image 'a.png'");
  EXPECT_EQ(error({"b.png"}, {"a.png"}), "t.csv: expected a row for image b.png, got none");
  EXPECT_EQ(error({"u/p/a.png", "v/p/a.png"}, {"p/a.png"}),
            "t.csv: expected one image for row 'p/a.png', got 'u/p/a.png' and 'v/p/a.png'");
}

}  // namespace
}  // namespace medfusion::data
