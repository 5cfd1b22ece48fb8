// The sub-commands of `medfusion kernels`, one file each.
#pragma once

#include <CLI/CLI.hpp>

#include "tools/medfusion/common.h"

namespace medfusion::tools {

// Each adds its sub-command to `kernels` and sets `action` where the command line asks for it.
void add_kernels_inspect_command(CLI::App& kernels, Action& action);

}  // namespace medfusion::tools
