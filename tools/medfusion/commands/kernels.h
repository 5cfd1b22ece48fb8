// The sub-commands of `medfusion kernels`, one file each.
#pragma once

#include <CLI/CLI.hpp>

#include "tools/medfusion/commands/common.h"

namespace medfusion::tools {

// What a command line names: an operation and perhaps one variant of it; empty for all.
struct OperationAndVariant {
  std::string operation, variant;
};
// "attention/mma" or "attention" or "". Throws core::InputError for names that are not registered.
OperationAndVariant parse_operation(const std::string& text);
[[noreturn]] void throw_unknown_operation(const std::string& operation);

// Each adds its sub-command to `kernels` and sets `action` where the command line asks for it.
void add_kernels_list_command(CLI::App& kernels, Action& action);
void add_kernels_check_command(CLI::App& kernels, Action& action);
void add_kernels_bench_command(CLI::App& kernels, Action& action);
void add_kernels_inspect_command(CLI::App& kernels, Action& action);

}  // namespace medfusion::tools
