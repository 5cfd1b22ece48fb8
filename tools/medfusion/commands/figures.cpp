#include "tools/medfusion/commands/figures.h"

#include "core/file.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i == 0 ? "" : ",") + csv_cell(cells[i]);
  return line + "\n";
}

}  // namespace

size_t write_figures(const std::filesystem::path& folder, const Page& page) {
  std::filesystem::create_directories(folder);
  std::string index = "file,shows\n";
  const auto files = page.files();
  for (const PageFile& file : files) {
    std::string content = file.svg;
    for (const auto& row : file.cells) content += csv_line(row);
    const std::string name = file.name + (file.svg.empty() ? ".csv" : ".svg");
    core::write_file((folder / name).string(), content);
    index += csv_line({name, file.title});
  }
  core::write_file((folder / "index.csv").string(), index);
  return files.size();
}

}  // namespace medfusion::tools
