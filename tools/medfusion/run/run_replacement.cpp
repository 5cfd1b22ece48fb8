#include "tools/medfusion/run/run_replacement.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

fs::path aside(const fs::path& folder) { return folder / ".replaced"; }
// Where the files of the run are moved before that folder gets its name.
fs::path on_the_way(const fs::path& folder) { return folder / ".replacing"; }

// Moves the files of a run; those that are not there are passed over.
void move_run(const fs::path& from, const fs::path& to, std::error_code& failure) {
  for (const std::string& name : RunDirectory::file_names()) {
    if (fs::exists(from / name, failure)) fs::rename(from / name, to / name, failure);
    if (failure) return;
  }
}

// What was moved, by this process or by one that was killed, goes back.
void put_back(const fs::path& folder) {
  std::error_code failure;
  if (!fs::exists(on_the_way(folder), failure)) return;
  move_run(on_the_way(folder), folder, failure);
  fs::remove(on_the_way(folder), failure);  // fails where it still holds something
}

RunDirectory set_aside_and_create(const fs::path& folder, bool overwrite) {
  std::error_code failure;
  if (overwrite && fs::is_directory(folder, failure) && !fs::exists(aside(folder), failure)) {
    failure.clear();
    fs::create_directory(on_the_way(folder), failure);
    if (!failure) move_run(folder, on_the_way(folder), failure);
    if (!failure) fs::rename(on_the_way(folder), aside(folder), failure);
    if (failure) {
      const std::string reason = failure.message();
      put_back(folder);
      throw core::Error(fmt::format("{}: the run cannot be set aside: {}", folder.string(), reason));
    }
  }
  return RunDirectory::create(folder, overwrite);
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);  // where it cannot, making the run says why
  file_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(file_);
    core::throw_input_error({folder.string()}, "another medfusion is writing here");
  }
  if (file_ >= 0) put_back(folder);
}

FolderLock::~FolderLock() {
  if (file_ >= 0) ::close(file_);
}

RunReplacement::RunReplacement(const fs::path& folder, bool overwrite)
    : existed_(fs::exists(folder)), lock_(folder), run_(set_aside_and_create(folder, overwrite)) {}

RunReplacement::~RunReplacement() {
  if (kept_) return;
  std::error_code failure;
  for (const std::string& name : RunDirectory::file_names()) fs::remove_all(run_.file(name), failure);
  if (fs::exists(aside(run_.folder()), failure)) {
    move_run(aside(run_.folder()), run_.folder(), failure);
    fs::remove(aside(run_.folder()), failure);
  }
  if (!existed_) fs::remove(run_.folder(), failure);  // fails where it holds something
}

void RunReplacement::keep() {
  if (kept_) return;
  kept_ = true;
  drop_replaced(run_);
}

void drop_replaced(const RunDirectory& run) {
  std::error_code failure;  // what cannot be removed is no harm
  fs::remove_all(aside(run.folder()), failure);
}

}  // namespace medfusion::tools
