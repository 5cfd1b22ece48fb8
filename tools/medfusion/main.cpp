#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "tools/medfusion/commands/common.h"

namespace {

// The next file that is opened would get the number of a standard stream that is closed, and with it what is
// printed. Instead a closed stdout stays one that cannot be written, and what goes to a closed stderr is
// lost.
void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A file that grows past the limit of the user is then an error like a full disk, not the end of the
  // process.
  std::signal(SIGXFSZ, SIG_IGN);
  hold_standard_streams();
  return medfusion::tools::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
