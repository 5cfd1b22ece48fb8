// NumPy archives: .npz files, zip archives of .npy arrays (NumPy Enhancement Proposal 1, versions 1 to 3 of
// the format).
#pragma once

#include <memory>
#include <string>

#include "core/tensor.h"
#include "data/readers/file_limits.h"

namespace medfusion::data {

class NpzFile {
 public:
  // Throws core::InputError naming the file where it is missing or not a zip archive. Arrays of more than
  // `most_bytes` bytes are refused when they are read.
  explicit NpzFile(const std::string& path, int64_t most_bytes = FileLimits().array_bytes());

  const std::string& path() const { return path_; }
  bool has(const std::string& name) const;
  // The array `name` (without .npy), in C order whatever the file's, of either byte order: u8, bool, f32 and
  // f64 as they are; i8, i16, u16 and i32 as i32; u32, i64 and u64 as i64. Throws core::InputError naming
  // file and array where it is missing, damaged (the archive's checksums are verified) or of another kind.
  core::Tensor read(const std::string& name) const;

 private:
  struct Archive;
  std::string path_;
  int64_t most_bytes_;
  std::shared_ptr<Archive> archive_;
};

}  // namespace medfusion::data
