// medfusion completions and medfusion man: what an installation gives shells and man(1). Hidden from --help.
#include <memory>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/shell_files.h"

namespace medfusion::tools {

void add_shell_commands(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("completions", "Print a completion script of a shell")->group("");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "Shell")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell, &program, &action] {
    action = [shell, &program] { print_text(completions(program, *shell)); };
  });
  program.add_subcommand("man", "Print the man page")->group("")->callback([&program, &action] {
    action = [&program] { print_text(man_page(program)); };
  });
}

}  // namespace medfusion::tools
