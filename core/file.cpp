#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace medfusion::core {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBufferBytes = 1 << 18;

enum class FaultKind : uint8_t { none, kill, full, quota, count };

struct Fault {
  FaultKind kind = FaultKind::none;
  int64_t call = 0;
};

void print_calls();

Fault read_fault() {
  const char* const text = std::getenv("MEDFUSION_FILE_FAULT");
  if (text == nullptr || *text == '\0') return {};
  const std::string_view all = text;
  if (all == "count") {
    std::atexit(print_calls);
    return {FaultKind::count, 0};
  }
  Fault fault;
  if (all.starts_with("kill@")) fault.kind = FaultKind::kill;
  if (all.starts_with("full@")) fault.kind = FaultKind::full;
  if (all.starts_with("quota@")) fault.kind = FaultKind::quota;
  const size_t number = std::min(all.find('@'), all.size() - 1) + 1;
  std::from_chars(all.data() + number, all.data() + all.size(), fault.call);
  if (fault.kind == FaultKind::none || fault.call < 1)
    throw Error(
        fmt::format("MEDFUSION_FILE_FAULT: expected kill@N, full@N, quota@N or count, got '{}'", all));
  return fault;
}

// The system calls of this file, as the planted fault sees them.
class Calls {
 public:
  // Before each call. False: it is to fail, for the reason in errno.
  bool allow(bool needs_room) {
    if (fault_.kind == FaultKind::none) [[likely]]
      return true;
    const int64_t number = ++calls_;
    if (fault_.kind == FaultKind::kill && number >= fault_.call) die();
    const bool full = fault_.kind == FaultKind::full || fault_.kind == FaultKind::quota;
    if (!full || number < fault_.call || !needs_room) return true;
    errno = fault_.kind == FaultKind::full ? ENOSPC : EDQUOT;
    return false;
  }
  // Which files have bytes that a power cut would lose.
  void note_written(const std::string& path) {
    if (fault_.kind != FaultKind::kill) return;
    const std::lock_guard lock(mutex_);
    unflushed_[path] = true;
  }
  void note_flushed(const std::string& path) {
    if (fault_.kind != FaultKind::kill) return;
    const std::lock_guard lock(mutex_);
    unflushed_.erase(path);
  }
  void note_renamed(const std::string& from, const std::string& to) {
    if (fault_.kind != FaultKind::kill) return;
    const std::lock_guard lock(mutex_);
    if (unflushed_.erase(from) > 0) unflushed_[to] = true;
  }
  int64_t calls() const { return calls_; }

 private:
  [[noreturn]] void die() {
    const std::lock_guard lock(mutex_);
    for (const auto& [path, unused] : unflushed_) {
      std::error_code none;
      const auto size = fs::file_size(path, none);
      if (!none) fs::resize_file(path, size / 2, none);
    }
    ::kill(::getpid(), SIGKILL);
    std::abort();
  }

  const Fault fault_ = read_fault();
  std::atomic<int64_t> calls_{0};
  std::mutex mutex_;
  std::map<std::string, bool> unflushed_;
};

Calls& calls() {
  static Calls* const instance = new Calls;  // print_calls() comes after the statics are destroyed
  return *instance;
}

void print_calls() {
  fmt::print(stderr, "MEDFUSION_FILE_FAULT: {} system calls on files\n", calls().calls());
}

std::string reason_of(int error) { return std::generic_category().message(error); }

int open_file(const std::string& path, int flags) {
  return calls().allow(true) ? ::open(path.c_str(), flags | O_CLOEXEC, 0666) : -1;
}

// False with errno set where not all could be written.
bool write_all(int descriptor, const std::string& path, const char* bytes, int64_t count) {
  while (count > 0) {
    if (!calls().allow(true)) return false;
    const ssize_t written = ::write(descriptor, bytes, static_cast<size_t>(count));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    calls().note_written(path);
    bytes += written;
    count -= written;
  }
  return true;
}

bool flush_file(int descriptor, const std::string& path) {
  if (!calls().allow(true) || ::fsync(descriptor) != 0) return false;
  calls().note_flushed(path);
  return true;
}

// Makes the rename last; where the file system cannot, nothing is lost but this.
void flush_folder(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  const int descriptor = open_file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return;
  if (calls().allow(true)) ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

WholeFile::WholeFile(const std::string& path, bool flush) : path_(path), flush_(flush) {
  std::error_code none;
  const bool link = fs::is_symlink(path, none);
  replaces_ = fs::exists(path, none) ? fs::is_regular_file(path, none) : !link;
  target_ = link && replaces_ ? fs::canonical(path, none).string() : path;
  partial_ = replaces_ ? target_ + ".partial" : target_;
  descriptor_ = open_file(partial_, O_WRONLY | O_CREAT | O_TRUNC);
  if (descriptor_ < 0) throw Error(fmt::format("{}: cannot write: {}", path_, reason_of(errno)));
}

WholeFile::~WholeFile() { discard(); }

void WholeFile::fail(int error) {
  discard();
  throw Error(fmt::format("{}: cannot write: {}", path_, reason_of(error)));
}

// Some file systems report a failed write only here.
bool WholeFile::close() {
  const int descriptor = std::exchange(descriptor_, -1);
  return descriptor < 0 || ::close(descriptor) == 0;
}

void WholeFile::discard() {
  if (partial_.empty()) return;
  close();
  if (replaces_) ::unlink(partial_.c_str());
  partial_.clear();
}

void WholeFile::write_buffer() {
  if (!write_all(descriptor_, partial_, buffer_.data(), static_cast<int64_t>(buffer_.size()))) fail(errno);
  buffer_.clear();
}

void WholeFile::write(const void* bytes, int64_t count) {
  if (static_cast<int64_t>(buffer_.size()) + count > kBufferBytes) write_buffer();
  const char* const from = static_cast<const char*>(bytes);
  if (count <= kBufferBytes) {
    buffer_.append(from, static_cast<size_t>(count));
  } else if (!write_all(descriptor_, partial_, from, count)) {
    fail(errno);
  }
}

void WholeFile::commit() {
  write_buffer();
  if (flush_ && replaces_ && !flush_file(descriptor_, partial_)) fail(errno);
  if (!close()) fail(errno);
  if (replaces_) {
    if (!calls().allow(false) || std::rename(partial_.c_str(), target_.c_str()) != 0) fail(errno);
    calls().note_renamed(partial_, target_);
  }
  partial_.clear();
  if (flush_ && replaces_) flush_folder(target_);
}

LastingFile::LastingFile(const std::string& path, int64_t bytes, bool alone) : target_(path), bytes_(bytes) {
  std::error_code none;
  if (fs::is_symlink(path, none) && fs::exists(path, none)) target_ = fs::canonical(path, none).string();
  partial_ = target_ + ".partial";
  descriptor_ = open_file(partial_, O_RDWR | O_CREAT);
  if (descriptor_ < 0) fail(errno);
  try {
    if (alone && ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw_input_error({partial_}, "another medfusion is writing here");
    set_size(bytes);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

LastingFile::~LastingFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LastingFile::fail(int error) const {
  throw Error(fmt::format("{}: cannot write: {}; what is written is kept", partial_, reason_of(error)));
}

void LastingFile::set_size(int64_t bytes) {
  if (!calls().allow(true) || ::ftruncate(descriptor_, bytes) != 0) fail(errno);
}

void LastingFile::clear() {
  set_size(0);
  set_size(bytes_);
}

void LastingFile::write_at(int64_t place, const void* bytes, int64_t count) {
  const char* from = static_cast<const char*>(bytes);
  while (count > 0) {
    if (!calls().allow(true)) fail(errno);
    const ssize_t written = ::pwrite(descriptor_, from, static_cast<size_t>(count), place);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(written < 0 ? errno : EIO);
    calls().note_written(partial_);
    from += written;
    place += written;
    count -= written;
  }
}

void LastingFile::commit() {
  if (!flush_file(descriptor_, partial_)) fail(errno);
  const int descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0) fail(errno);
  if (!calls().allow(false) || std::rename(partial_.c_str(), target_.c_str()) != 0) fail(errno);
  calls().note_renamed(partial_, target_);
  flush_folder(target_);
}

void write_file(const std::string& path, std::string_view bytes, bool flush) {
  WholeFile file(path, flush);
  file.write(bytes.data(), static_cast<int64_t>(bytes.size()));
  file.commit();
}

void append_file(const std::string& path, std::string_view text, bool flush) {
  const int file = open_file(path, O_WRONLY | O_CREAT | O_APPEND);
  const auto fail = [&path](int error, const char* more = "") {
    throw Error(fmt::format("{}: cannot write: {}{}", path, reason_of(error), more));
  };
  if (file < 0) fail(errno);
  struct stat before {};
  const bool known = ::fstat(file, &before) == 0;
  bool good = known && write_all(file, path, text.data(), static_cast<int64_t>(text.size()));
  good = good && (!flush || !S_ISREG(before.st_mode) || flush_file(file, path));
  int error = errno;
  const bool cut = known && !good && S_ISREG(before.st_mode) && ::ftruncate(file, before.st_size) != 0;
  if (::close(file) != 0 && good) {
    good = false;
    error = errno;
  }
  if (!good) fail(error, cut ? "; its last line is cut short" : "");
}

bool make_folder(const std::string& path) {
  if (!calls().allow(true)) return false;
  std::error_code failure;
  if (fs::create_directory(path, failure)) flush_folder(path);
  return fs::is_directory(path, failure);
}

bool remove_file(const std::string& path) { return calls().allow(false) && ::unlink(path.c_str()) == 0; }

}  // namespace medfusion::core
