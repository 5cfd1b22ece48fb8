// Files written whole or not at all. To test what a crash or a full disk leaves behind, the environment may
// hold MEDFUSION_FILE_FAULT: kill@N ends the process by SIGKILL before its N-th system call of this file
// (counted from 1), after it cut in half what was written and not yet flushed, as a power cut would; full@N
// fails that call and every later one that needs room, as a full disk would; quota@N does as a used up quota
// would; count prints their number at the end of the process.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace medfusion::core {

// A file under way, which gets its name with commit(): a reader sees the old file or the new one, never a
// part. It is written under the name `path` + ".partial". A link is followed; what is no regular file (a
// device, a pipe) is written to as it is. With `flush` the bytes are on the disk before they get their name,
// and the name is before commit() returns. Every function throws Error naming `path` and the reason, and
// then leaves nothing behind.
class WholeFile {
 public:
  explicit WholeFile(const std::string& path, bool flush = false);
  ~WholeFile();  // without commit(): removes what was written
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void write(const void* bytes, int64_t count);
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void write_buffer();
  bool close();
  void discard();

  std::string path_, target_, partial_;
  bool flush_;
  bool replaces_;  // false: it is written to as it is
  int descriptor_ = -1;
  std::string buffer_;  // of small pieces, still to be written
};

// A file that may take several runs of the program. Until commit() it is `path` + ".partial", which stays
// as far as it was written where the process ends or a function throws. A link is followed. Every function
// throws Error naming the file and the reason.
class LastingFile {
 public:
  // Opens what is there, or makes it, and sets its size; bytes that nobody wrote are 0. With `alone` it
  // refuses a file that another process has opened so.
  LastingFile(const std::string& path, int64_t bytes, bool alone);
  ~LastingFile();
  LastingFile(const LastingFile&) = delete;
  LastingFile& operator=(const LastingFile&) = delete;

  const std::string& partial() const { return partial_; }
  void clear();  // all bytes are 0 again
  // Several threads may write at once.
  void write_at(int64_t place, const void* bytes, int64_t count);
  // The bytes are on the disk before they get their name, and the name is before this returns.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void set_size(int64_t bytes);

  std::string target_, partial_;
  int64_t bytes_;
  int descriptor_ = -1;
};

// Writes a WholeFile.
void write_file(const std::string& path, std::string_view bytes, bool flush = false);

// Adds `text` to the end of a file, which is made where it is missing. Throws Error where it cannot be
// written in full; the file then ends as it did before.
void append_file(const std::string& path, std::string_view text, bool flush = false);

// Makes a folder, which is on the disk when this returns; false where it cannot. One that is there is fine.
bool make_folder(const std::string& path);

// Removes a file; false where it cannot or there is none.
bool remove_file(const std::string& path);

}  // namespace medfusion::core
