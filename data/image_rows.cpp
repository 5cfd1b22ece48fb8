#include "data/image_rows.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>

#include "core/error.h"
#include "data/readers/csv.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const fs::path& path) {
  const std::string extension = lower(path.extension().string());
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

// What lies in a folder and is no image to read.
struct LeftOut {
  int64_t hidden = 0, links = 0, broken = 0, others = 0;
  std::string first;

  void count(int64_t& kind, const fs::path& path) {
    if (total() == 0) first = path.string();
    ++kind;
  }
  int64_t total() const { return hidden + links + broken + others; }
  void note(std::vector<std::string>& notes) const {
    if (total() == 0) return;
    std::string kinds;
    for (const auto& [number, kind] :
         {std::pair{hidden, "hidden"}, std::pair{links, "links to folders"},
          std::pair{broken, "links that lead nowhere"}, std::pair{others, "not named .png, .jpg or .jpeg"}}) {
      if (number > 0) kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", number, kind);
    }
    notes.push_back(
        fmt::format("images: {} files or folders are left out ({}), such as '{}'", total(), kinds, first));
  }
};

std::vector<NamedImage> images_below(const fs::path& folder, LeftOut& left_out) {
  std::vector<NamedImage> images;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(folder, error);
       !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code unreadable, none;
    const fs::file_type type = entry->status(unreadable).type();
    if (path.filename().string().starts_with('.')) {
      if (type == fs::file_type::directory && !entry->is_symlink(none)) entry.disable_recursion_pending();
      left_out.count(left_out.hidden, path);
    } else if (unreadable && entry->is_symlink(none)) {
      left_out.count(left_out.broken, path);
    } else if (unreadable) {
      core::throw_input_error({path.string()}, "cannot read: " + unreadable.message());
    } else if (type == fs::file_type::directory) {
      if (entry->is_symlink(none)) left_out.count(left_out.links, path);
    } else if (type == fs::file_type::regular && is_image_name(path)) {
      images.push_back({path.string(), path.lexically_relative(folder).generic_string()});
    } else {
      left_out.count(left_out.others, path);
    }
  }
  if (error) core::throw_input_error({folder.string()}, "cannot list the folder: " + error.message());
  std::sort(images.begin(), images.end(),
            [](const NamedImage& a, const NamedImage& b) { return a.path < b.path; });
  return images;
}

// The path in its parts, without "." and "..".
std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(path).lexically_normal()) {
    if (!part.empty()) parts.push_back(part.string());
  }
  return parts;
}

bool ends_with(const std::vector<std::string>& path, const std::vector<std::string>& end) {
  return end.size() <= path.size() && std::equal(end.rbegin(), end.rend(), path.rbegin());
}

// Rows and images of one file name.
struct SameName {
  std::vector<size_t> rows, images;
};

class RowJoin {
 public:
  RowJoin(const std::vector<NamedImage>& images, const std::vector<std::string>& rows,
          const std::string& table)
      : images_(images), rows_(rows), table_(table), taken_(rows.size(), images.size()) {
    for (size_t row = 0; row < rows.size(); ++row)
      named_[fs::path(rows[row]).filename().string()].rows.push_back(row);
    for (size_t image = 0; image < images.size(); ++image) place_of(image).images.push_back(image);
  }

  size_t row_of(size_t image) {
    const SameName& same = place_of(image);
    if (same.rows.empty()) fail(fmt::format("a row for image {}, got none", images_[image].id));
    size_t row = row_by_path(image, same);
    if (row == rows_.size()) row = row_by_name(image, same);
    if (taken_[row] != images_.size()) {
      fail(fmt::format("one image for row '{}', got '{}' and '{}'", rows_[row], images_[taken_[row]].id,
                       images_[image].id));
    }
    taken_[row] = image;
    return row;
  }

  void note(std::vector<std::string>& notes) const {
    if (by_name_ == 0) return;
    notes.push_back(fmt::format("{} of {} images are joined with rows by their file names alone, such as {}",
                                by_name_, images_.size(), example_));
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    core::throw_input_error({table_}, "expected {}", expected);
  }

  // By the file name; where no row has it, by the name without .png, .jpg, .jpeg.
  SameName& place_of(size_t image) {
    const fs::path id = images_[image].id;
    const auto found = named_.find(id.filename().string());
    return found != named_.end() ? found->second : named_[id.stem().string()];
  }

  // The one row whose path is the image's; rows_.size() where none or several are.
  size_t row_by_path(size_t image, const SameName& same) const {
    const auto id = parts_of(images_[image].id), path = parts_of(images_[image].path);
    std::vector<size_t> equal, longer;
    for (const size_t row : same.rows) {
      const auto parts = parts_of(rows_[row]);
      if (parts == id || (parts.size() == 1 && id.size() == 1)) equal.push_back(row);
      if ((parts.size() > 1 && ends_with(path, parts)) || (id.size() > 1 && ends_with(parts, id)))
        longer.push_back(row);
    }
    const std::vector<size_t>& found = equal.empty() ? longer : equal;
    return found.size() == 1 ? found.front() : rows_.size();
  }

  size_t row_by_name(size_t image, const SameName& same) {
    const std::string& id = images_[image].id;
    const std::string& row = rows_[same.rows.front()];
    if (same.rows.size() > 1) {
      fail(fmt::format("paths that tell the rows of one file name apart, got '{}' and '{}' for image '{}'",
                       row, rows_[same.rows[1]], id));
    }
    if (same.images.size() > 1) {
      fail(fmt::format("paths that tell the images of one file name apart, got row '{}' for '{}' and '{}'",
                       row, images_[same.images[0]].id, images_[same.images[1]].id));
    }
    const auto row_folders = parts_of(fs::path(row).parent_path().string());
    const auto folders = parts_of(fs::path(id).parent_path().string());
    if (!ends_with(row_folders, folders) && !ends_with(folders, row_folders))
      fail(fmt::format("a row for image '{}', got one of this file name in another folder, '{}'", id, row));
    if (by_name_++ == 0) example_ = fmt::format("'{}' with '{}'", id, row);
    return same.rows.front();
  }

  const std::vector<NamedImage>& images_;
  const std::vector<std::string>& rows_;
  std::string table_;
  std::vector<size_t> taken_;  // the image of each row
  std::unordered_map<std::string, SameName> named_;
  int64_t by_name_ = 0;
  std::string example_;
};

}  // namespace

std::vector<NamedImage> list_images(const std::vector<std::string>& given, std::vector<std::string>& notes) {
  std::vector<NamedImage> images;
  LeftOut left_out;
  for (const std::string& path : given) {
    if (!fs::exists(path))
      core::throw_input_error({path}, "expected an image or a folder of images, got no such file");
    if (!fs::is_directory(path)) {
      images.push_back({path, fs::path(path).filename().string()});
      continue;
    }
    const std::vector<NamedImage> inside = images_below(path, left_out);
    if (inside.empty())
      core::throw_input_error({path}, "expected PNG or JPEG files in this folder, got none");
    images.insert(images.end(), inside.begin(), inside.end());
  }
  std::unordered_map<std::string_view, const NamedImage*> seen;
  for (const NamedImage& image : images) {
    const auto [first, added] = seen.emplace(image.id, &image);
    if (!added) {
      core::throw_input_error({image.path}, "expected images of different names, got '{}' also as {}",
                              image.id, first->second->path);
    }
  }
  left_out.note(notes);
  return images;
}

std::vector<size_t> rows_of_images(const std::vector<NamedImage>& images,
                                   const std::vector<std::string>& rows, const std::string& table,
                                   std::vector<std::string>& notes) {
  RowJoin join(images, rows, table);
  std::vector<size_t> result;
  for (size_t image = 0; image < images.size(); ++image) result.push_back(join.row_of(image));
  join.note(notes);
  return result;
}

}  // namespace medfusion::data
