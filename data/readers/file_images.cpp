#include "data/readers/file_images.h"

#include <xxhash.h>

#include <fstream>
#include <sstream>

#include "data/images/image.h"

namespace medfusion::data {

core::Tensor FileImages::read(int64_t row) const {
  MEDFUSION_CHECK(row >= 0 && row < static_cast<int64_t>(paths_.size()) && present(row),
                  "FileImages: row {} of {} has no image", row, paths_.size());
  return decode_image(path(row), most_pixels_);
}

int64_t FileImages::encoded_size(int64_t row) const {
  std::error_code error;
  const auto size = std::filesystem::file_size(path(row), error);
  if (error) core::throw_input_error({path(row)}, "cannot read the image: " + error.message());
  return static_cast<int64_t>(size);
}

uint64_t FileImages::digest(int64_t row) const {
  std::ifstream file(path(row), std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (!file) core::throw_input_error({path(row)}, "cannot read the image");
  const std::string text = bytes.str();
  return XXH64(text.data(), text.size(), 0);
}

FileIndex index_files(const std::vector<std::filesystem::path>& folders) {
  FileIndex index;
  for (const auto& folder : folders) {
    std::error_code error;
    for (auto entry = std::filesystem::directory_iterator(folder, error);
         !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      if (!entry->is_regular_file()) continue;
      const std::string path = entry->path().string();
      const auto [place, added] = index.try_emplace(
          entry->path().filename().string(), FileEntry{path, static_cast<int64_t>(entry->file_size())});
      if (!added)
        core::throw_input_error({path}, "expected each name once, got it also as " + place->second.path);
    }
    if (error) core::throw_input_error({folder.string()}, "cannot list the folder: " + error.message());
  }
  return index;
}

}  // namespace medfusion::data
