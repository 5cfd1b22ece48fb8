// medfusion explain.
#pragma once

#include "tools/medfusion/commands/common.h"

namespace medfusion::tools {

// Adds the command to the program and sets `action` where the command line asks for it.
void add_explain_command(CLI::App& program, Action& action);

}  // namespace medfusion::tools
