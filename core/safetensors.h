// Tensors in files: the safetensors format, readable from Python.
//   u64 length of the header, little endian | JSON header | data, without holes
// Header: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
//          "__metadata__": {"key": "text"}}
// Files written here state in their metadata, as "medfusion.checksum", 16 hexadecimal digits: XXH3 of the
// header, in which these digits are zeros, and of the data.
#pragma once

#include <map>
#include <string>

#include "core/tensor.h"

namespace medfusion::core {

inline constexpr const char* kChecksum = "medfusion.checksum";

// Reads F32, F64, BF16, I64, I32, U8, BOOL, and F16 as f32. Nothing is allocated from a size that the file
// does not back. Throws InputError naming the file and what is wrong with it: missing, cut short, a bad
// header, offsets that overlap, leave a hole or lie outside the data, a name twice, an unknown dtype, other
// bytes than its checksum states. A file without a checksum is read as it is; `metadata` tells.
std::map<std::string, Tensor> load_safetensors(const std::string& path,
                                               std::map<std::string, std::string>* metadata = nullptr);

// Writes `path` in one step (core/file.h), flushed to the disk. The bytes depend on the arguments only:
// header sorted by name, data by falling element size (so that it is aligned) and then name. Throws Error
// naming the file where it cannot be written in full (e.g. a full disk); then no temporary file is left and
// an older file of that name is untouched.
void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace medfusion::core
