// Images that lie in files, decoded when they are read.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/images/image_limits.h"

namespace medfusion::data {

class FileImages : public ImageSource {
 public:
  // One path per row; an empty one means that the row has no image.
  explicit FileImages(std::vector<std::string> paths, int64_t most_pixels = kMaxImagePixels)
      : paths_(std::move(paths)), most_pixels_(most_pixels) {}
  core::Tensor read(int64_t row) const override;
  bool present(int64_t row) const override { return !paths_.at(static_cast<size_t>(row)).empty(); }
  int64_t encoded_size(int64_t row) const override;  // of the file
  uint64_t digest(int64_t row) const override;
  std::string file(int64_t row) const override { return path(row); }
  const std::string& path(int64_t row) const { return paths_.at(static_cast<size_t>(row)); }

 private:
  std::vector<std::string> paths_;
  int64_t most_pixels_;  // of an image
};

// Names of the files in `folders` -> path and size. The same name twice is an error that names both.
struct FileEntry {
  std::string path;
  int64_t size = 0;
};
using FileIndex = std::map<std::string, FileEntry, std::less<>>;
FileIndex index_files(const std::vector<std::filesystem::path>& folders);

}  // namespace medfusion::data
