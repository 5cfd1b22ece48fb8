#include "data/file_images.h"

#include "data/image.h"

namespace medfusion::data {

core::Tensor FileImages::read(int64_t row) const {
  MEDFUSION_CHECK(row >= 0 && row < static_cast<int64_t>(paths_.size()) && present(row),
                  "FileImages: row {} of {} has no image", row, paths_.size());
  return decode_image(path(row));
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
