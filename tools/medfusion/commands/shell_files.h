// The man page and the completions of shells, from what CLI11 knows of the commands and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace medfusion::tools {

// One page for the program and all its commands, in the language of man(7).
std::string man_page(const CLI::App& program);

// A script for "bash", "zsh" or "fish" that completes commands, options, their choices, and names of ready
// configurations.
std::string completions(const CLI::App& program, const std::string& shell);

}  // namespace medfusion::tools
