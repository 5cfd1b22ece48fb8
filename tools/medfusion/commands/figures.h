// The figures and tables of a page as files.
#pragma once

#include <cstddef>
#include <filesystem>

#include "tools/evaluation/report/html.h"

namespace medfusion::tools {

// Each figure as SVG and each table as CSV, and index.csv, a list of them. Returns how many there are.
size_t write_figures(const std::filesystem::path& folder, const Page& page);

}  // namespace medfusion::tools
