#include "tools/medfusion/study/children.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/interruption.h"

namespace medfusion::tools {
namespace {

constexpr const char* kOfErrors = "medfusion: ";

// A child's last line of error; empty where it left none.
std::string complaint_in(const std::filesystem::path& log) {
  std::istringstream lines(read_file(log));
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kOfErrors)) found = line.substr(std::string(kOfErrors).size());
  }
  return found;
}

// Becomes the program with other arguments. Calls only what may follow a fork.
[[noreturn]] void become_child(char* const* argv, int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::setpgid(0, 0);  // Ctrl-C reaches the parent alone, which passes it on once
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

pid_t start_child(std::vector<std::string> arguments, const std::filesystem::path& log) {
  std::filesystem::create_directories(log.parent_path());
  const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) throw core::Error(fmt::format("{}: cannot be written", log.string()));
  arguments.insert(arguments.begin(), "medfusion");
  std::vector<char*> argv;
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child == 0) become_child(argv.data(), file, parent);
  ::close(file);
  if (child < 0) throw core::Error("no process can be started");
  return child;
}

// The children of a study, which end with it.
class Children {
 public:
  Children(const std::vector<ChildJob>& jobs, int64_t at_once) : jobs_(jobs), at_once_(at_once) {}
  ~Children() {
    for (const Running& each : running_) {
      ::kill(each.child, SIGKILL);
      ::waitpid(each.child, nullptr, 0);
    }
  }
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  std::vector<ChildFailure> run(const std::function<void()>& on_change) {
    constexpr int kPollsPerSecond = 50;
    for (int64_t poll = 0; fill() || !running_.empty(); ++poll) {
      pass_on_signal();
      if (reap() || poll % kPollsPerSecond == 0) on_change();
      if (!running_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1000 / kPollsPerSecond));
    }
    on_change();
    return failures_;
  }

 private:
  struct Running {
    const ChildJob* job;
    pid_t child;
  };

  // Starts jobs while there is room; false where none is left.
  bool fill() {
    while (next_ < jobs_.size() && running_.size() < static_cast<size_t>(at_once_) &&
           SignalWatch::caught() == 0)
      go_on(jobs_[next_++]);
    return next_ < jobs_.size() && SignalWatch::caught() == 0;
  }

  // Starts the next command of the job, if there is one.
  void go_on(const ChildJob& job) {
    try {
      std::vector<std::string> arguments = job.next();
      if (!arguments.empty()) running_.push_back({&job, start_child(std::move(arguments), job.log)});
    } catch (const std::runtime_error& error) {
      failures_.push_back({job.name, error.what()});
    }
  }

  void pass_on_signal() {
    if (SignalWatch::caught() == 0 || passed_on_) return;
    passed_on_ = true;
    for (const Running& each : running_) ::kill(each.child, SIGTERM);
  }

  // Takes leave of children that have ended; whether there was one.
  bool reap() {
    std::vector<std::pair<Running, int>> ended;
    std::erase_if(running_, [&](const Running& each) {
      int status = 0;
      if (::waitpid(each.child, &status, WNOHANG) == 0) return false;
      ended.emplace_back(each, status);
      return true;
    });
    for (const auto& [each, status] : ended) {
      if (status != 0) {
        if (SignalWatch::caught() == 0) failures_.push_back({each.job->name, reason_of(*each.job, status)});
      } else if (SignalWatch::caught() == 0) {
        go_on(*each.job);
      }
    }
    return !ended.empty();
  }

  static std::string reason_of(const ChildJob& job, int status) {
    if (WIFSIGNALED(status)) return fmt::format("ended by signal {}", WTERMSIG(status));
    const std::string complaint = complaint_in(job.log);
    return complaint.empty() ? fmt::format("ended with code {}", WEXITSTATUS(status)) : complaint;
  }

  const std::vector<ChildJob>& jobs_;
  int64_t at_once_;
  size_t next_ = 0;
  std::vector<Running> running_;
  std::vector<ChildFailure> failures_;
  bool passed_on_ = false;
};

}  // namespace

std::vector<ChildFailure> run_children(const std::vector<ChildJob>& jobs, int64_t at_once,
                                       const std::function<void()>& on_change) {
  return Children(jobs, at_once).run(on_change);
}

}  // namespace medfusion::tools
