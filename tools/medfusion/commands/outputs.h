// What a command is told to write, checked before it works: nothing that is read, and nothing of another
// kind, is replaced.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

// A file to write, which `option` names (empty: none). Throws core::InputError where its folder is not there,
// where it is a folder, is called like a file of another kind than `extension`, is a file of a run other than
// `own`, or is one of `inputs` (files, or folders whose files are read).
void check_output_file(const std::string& option, const std::string& path, const std::string& extension,
                       const std::vector<std::string>& inputs, const std::string& own = "");

// A folder to write `names` into; it need not exist. Throws core::InputError where a file is in its way,
// where it is a run other than `run` (empty: may be any), or where one of the names is one of `inputs`.
void check_output_folder(const std::string& option, const std::filesystem::path& folder,
                         const std::vector<std::string>& names, const std::vector<std::string>& inputs,
                         const std::string& run = "");

// The files that a configuration names.
std::vector<std::string> files_of(const Config& config);

}  // namespace medfusion::tools
