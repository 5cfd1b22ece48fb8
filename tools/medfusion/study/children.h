// Commands of this program, run as child processes, several at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace medfusion::tools {

// Commands that follow each other.
struct ChildJob {
  std::string name;           // for messages
  std::filesystem::path log;  // gets what the commands print; its folder is made
  // The arguments of the next command; none: the job is done. core::Error makes the job fail.
  std::function<std::vector<std::string>()> next;
};

struct ChildFailure {
  std::string name;
  std::string reason;  // the line that the command printed, or how it ended
};

// Runs the jobs in their order, at most `at_once` at a time, each until a command of it fails. on_change is
// called when a job has ended, and about once a second. A signal that SignalWatch (run/interruption.h) has
// caught is passed on to the children, no further command starts, and the function returns when they have
// ended; what was cut off so is no failure. Children end with this process, however it ends.
std::vector<ChildFailure> run_children(const std::vector<ChildJob>& jobs, int64_t at_once,
                                       const std::function<void()>& on_change);

}  // namespace medfusion::tools
