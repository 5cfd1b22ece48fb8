// Runs the built program and keeps what it writes; temporary folders for tests.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace medfusion::tools {

// A folder of its own for one test, removed with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "medfusion-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code failure;
    std::filesystem::remove_all(path_, failure);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string contents(const std::filesystem::path& path) {
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::filesystem::path write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

struct Outcome {
  int code = -1;          // the exit code; 128 + signal where one ended the program
  bool signaled = false;  // whether one did
  std::string out;
  std::string err;
  int64_t peak_bytes = 0;  // of resident memory
};

// Where a standard stream of the program goes, but for a file.
enum class Stream : uint8_t {
  kept,         // where the test reads it
  broken_pipe,  // to a pipe that nobody reads
  full_disk,
  closed
};

struct Surroundings {
  std::filesystem::path folder = MEDFUSION_SOURCE_DIR;  // the working directory
  std::vector<std::string> launcher;                    // words before the program: mpirun -n 2
  std::string out;                                      // where standard output goes; empty: it is kept
  Stream out_stream = Stream::kept, err_stream = Stream::kept;
  bool ignores_sigpipe = false;  // as the process that starts it does
  int64_t file_size = -1;        // where not negative, a file that grows past it fails as on a full disk
  std::vector<std::pair<std::string, std::string>>
      variables;                    // of its environment; an empty value unsets one
  std::vector<std::string> hidden;  // files that it sees empty; its exit code is kCannotHide where that fails
};
inline constexpr int kCannotHide = 126;

// Shows the calling process the files as empty ones, and nobody else; false where the system does not let it.
inline bool hide(const std::vector<std::string>& files) {
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  for (const std::string& file : files) {
    if (::mount("/dev/null", file.c_str(), nullptr, MS_BIND, nullptr) != 0) return false;
  }
  return true;
}

// Makes `number` of the calling process what the test asks for; `file` is where it is kept.
inline bool redirect(Stream stream, int number, const std::string& file) {
  if (stream == Stream::closed) return ::close(number) == 0;
  int end = -1;
  if (stream == Stream::broken_pipe) {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    ::close(ends[0]);
    end = ends[1];
  } else {
    const char* const path = stream == Stream::full_disk ? "/dev/full" : file.c_str();
    end = ::open(path, O_WRONLY | O_CREAT, 0666);
  }
  const bool done = ::dup2(end, number) >= 0;
  ::close(end);
  return done;
}

// The program under way. Ended by SIGKILL where it is destroyed before it was waited for.
class RunningProgram {
 public:
  RunningProgram(const std::vector<std::string>& arguments, const Surroundings& surroundings)
      : out_(surroundings.out) {
    const std::string out = out_.empty() ? (folder_ / "out").string() : out_;
    const std::string err = (folder_ / "err").string();
    const std::string program = MEDFUSION_BINARY_DIR "/bin/medfusion";
    std::vector<char*> argv;
    for (const std::string& word : surroundings.launcher) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(const_cast<char*>(program.c_str()));
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    child_ = ::fork();
    if (child_ != 0) return;
    // A shell may have started the test with signals ignored.
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_DFL);
    if (surroundings.file_size >= 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{static_cast<rlim_t>(surroundings.file_size), RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (const auto& [name, value] : surroundings.variables) {
      if (value.empty()) {
        ::unsetenv(name.c_str());
      } else {
        ::setenv(name.c_str(), value.c_str(), 1);
      }
    }
    if (!surroundings.hidden.empty() && !hide(surroundings.hidden)) ::_exit(kCannotHide);
    const bool ready = ::chdir(surroundings.folder.c_str()) == 0 &&
                       redirect(surroundings.out_stream, STDOUT_FILENO, out) &&
                       redirect(surroundings.err_stream, STDERR_FILENO, err);
    if (surroundings.ignores_sigpipe) std::signal(SIGPIPE, SIG_IGN);
    if (ready) ::execvp(argv.front(), argv.data());
    ::_exit(127);
  }
  ~RunningProgram() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  void signal(int number) const { ::kill(child_, number); }
  pid_t pid() const { return child_; }
  std::string err() const { return contents(folder_ / "err"); }  // so far
  bool is_running() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  Outcome wait() {
    Outcome outcome;
    int status = 0;
    rusage used{};
    ::wait4(child_, &status, 0, &used);
    child_ = -1;
    outcome.peak_bytes = int64_t{used.ru_maxrss} << 10;
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.signaled = WIFSIGNALED(status);
    if (out_.empty()) outcome.out = contents(folder_ / "out");
    outcome.err = err();
    return outcome;
  }

 private:
  const TemporaryFolder folder_;
  std::string out_;
  pid_t child_ = -1;
};

inline Outcome run_medfusion(const std::vector<std::string>& arguments,
                             const Surroundings& surroundings = {}) {
  return RunningProgram(arguments, surroundings).wait();
}

}  // namespace medfusion::tools
