// The configurations that come with the program: tools/configs of the source tree, share/medfusion/configs of
// an installation. They go by name: `medfusion train phantom`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace medfusion::tools {

// ../share/medfusion/configs, seen from the folder of the running program. A build tree has a link there.
std::filesystem::path ready_config_folder();

// Sorted, without ".toml"; empty where the program was copied away without its configurations.
std::vector<std::string> ready_config_names();

// The file that `given` names: a path to a file comes first, then the ready configuration of that name. A
// path that has a folder or an extension is returned as it is, whether or not it exists. Throws InputError
// where a word is neither.
std::string find_config(const std::string& given);

}  // namespace medfusion::tools
