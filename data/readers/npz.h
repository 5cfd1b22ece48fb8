// NumPy archives: .npz files, zip archives of .npy arrays (NumPy Enhancement Proposal 1, versions 1 to 3 of
// the format).
#pragma once

#include <memory>
#include <string>

#include "core/tensor.h"

namespace medfusion::data {

class NpzFile {
 public:
  // Throws core::InputError naming the file where it is missing or not a zip archive.
  explicit NpzFile(const std::string& path);

  const std::string& path() const { return path_; }
  bool has(const std::string& name) const;
  // The array `name` (without .npy), in C order whatever the file's, of either byte order: u8, bool, f32 and
  // f64 as they are; i8, i16, u16 and i32 as i32; u32, i64 and u64 as i64. Throws core::InputError naming
  // file and array where it is missing, damaged (the archive's checksums are verified) or of another kind.
  core::Tensor read(const std::string& name) const;

 private:
  struct Archive;
  std::string path_;
  std::shared_ptr<Archive> archive_;
};

}  // namespace medfusion::data
