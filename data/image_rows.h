// Image files given by their names, and the rows of a table that belong to them.
#pragma once

#include <string>
#include <vector>

namespace medfusion::data {

struct NamedImage {
  std::string path;  // to open it
  std::string id;    // the path below the folder that was given; of a file that was given, its name
};

// Image files in the order given; a folder stands for the PNG and JPEG files in it and in its subfolders, by
// path. Hidden files and folders, links to folders, and files of other names are left out, and counted in one
// line of `notes`. Throws core::InputError where a path is not there, a folder has no images, or two images
// have one id.
std::vector<NamedImage> list_images(const std::vector<std::string>& given, std::vector<std::string>& notes);

// The row of each image. `rows` names the image of each row: its path, or an id, which is a file name or one
// without .png, .jpg, .jpeg. A row belongs to an image whose id it is, or where one of the two paths ends
// with the other, folders included. A file name alone joins only where one image and one row have it and
// their folders do not contradict; a note counts these. Throws core::InputError naming `table`, the image and
// the row.
std::vector<size_t> rows_of_images(const std::vector<NamedImage>& images,
                                   const std::vector<std::string>& rows, const std::string& table,
                                   std::vector<std::string>& notes);

}  // namespace medfusion::data
