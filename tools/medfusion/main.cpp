#include <csignal>
#include <string>
#include <vector>

#include "tools/medfusion/commands/common.h"

int main(int argc, char** argv) {
  // A file that grows past the limit of the user is then an error like a full disk, not the end of the
  // process.
  std::signal(SIGXFSZ, SIG_IGN);
  return medfusion::tools::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
