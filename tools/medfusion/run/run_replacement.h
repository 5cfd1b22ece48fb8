// A new run in a folder that may hold an old one: nothing is lost before there is something in its place.
#pragma once

#include <filesystem>

#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {

// A folder, made where there is none, that one process at a time writes to; held until destroyed or the
// process ends. A run that a killed process had moved in part, to replace it, is put back. Throws
// core::InputError where another holds the folder.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

// Makes a run directory and, where it is to overwrite a run, first sets the files of that run aside in its
// folder .replaced (which is called .replacing until all are there). Destroyed before keep(), it removes what
// the new run wrote and puts the old run back: as if nothing had happened.
class RunReplacement {
 public:
  // Throws as RunDirectory::create. Where .replaced is there already, training was cut off before its first
  // checkpoint: then .replaced holds the run to come back to, and the files beside it are worth nothing.
  RunReplacement(const std::filesystem::path& folder, bool overwrite);
  ~RunReplacement();
  RunReplacement(const RunReplacement&) = delete;
  RunReplacement& operator=(const RunReplacement&) = delete;

  const RunDirectory& run() const { return run_; }

  // The new run has a checkpoint: the old one goes. May be called again.
  void keep();

 private:
  bool existed_;  // the folder, before
  FolderLock lock_;
  RunDirectory run_;
  bool kept_ = false;
};

// A run that --force was about to replace goes when the run in its place, which went on, has a checkpoint.
void drop_replaced(const RunDirectory& run);

}  // namespace medfusion::tools
