// medfusion kernels: the workshop.
#include "tools/medfusion/commands/kernels.h"

namespace medfusion::tools {

void add_kernels_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("kernels", "List, check, time and inspect the kernels");
  command->require_subcommand(1);
  add_kernels_list_command(*command, action);
  add_kernels_check_command(*command, action);
  add_kernels_bench_command(*command, action);
  add_kernels_inspect_command(*command, action);
  command->footer("medfusion kernels COMMAND --help explains a command and shows an example.");
}

}  // namespace medfusion::tools
