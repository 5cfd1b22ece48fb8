// Weights: load_safetensors. The header's length, the data's size and the checksum are made right again after
// most changes.
#include "core/safetensors.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace medfusion::fuzz {
namespace {

// The end of the last tensor that a header describes, or `otherwise`.
size_t data_size(const std::string& header, size_t otherwise) {
  const auto json = nlohmann::json::parse(header, nullptr, false);
  if (!json.is_object()) return otherwise;
  size_t size = 0;
  for (const auto& entry : json) {
    const auto offsets = entry.is_object() ? entry.find("data_offsets") : entry.end();
    if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) continue;
    const auto& end = offsets->back();
    if (end.is_number_unsigned() && end.get<uint64_t>() < 10'000)
      size = std::max<size_t>(size, end.get<uint64_t>());
  }
  return size;
}

// Writes the checksum of core/safetensors.h in place of the one that `header` states, if any.
void set_checksum(std::string& header, const Bytes& values) {
  constexpr size_t kDigits = 16;
  const std::string key = std::string("\"") + core::kChecksum + "\":\"";
  const size_t found = header.find(key);
  if (found == std::string::npos || found + key.size() + kDigits > header.size()) return;
  header.replace(found + key.size(), kDigits, kDigits, '0');
  Bytes all(header.begin(), header.end());
  all.insert(all.end(), values.begin(), values.end());
  header.replace(found + key.size(), kDigits, fmt::format("{:016x}", XXH3_64bits(all.data(), all.size())));
}

}  // namespace
}  // namespace medfusion::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::map<std::string, std::string> metadata;
  medfusion::fuzz::accepts([&] {
    for (const auto& [name, tensor] :
         medfusion::core::load_safetensors(medfusion::fuzz::file_of({data, size}), &metadata))
      if (tensor.numel() > 0) static_cast<void>(tensor.to_contiguous());
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  using namespace medfusion::fuzz;
  constexpr size_t kLengthBytes = 8;
  Choices choices(seed);
  uint64_t length = 0;
  if (size > kLengthBytes) std::memcpy(&length, data, kLengthBytes);
  if (length == 0 || length > size - kLengthBytes || choices.one_in(10))
    return LLVMFuzzerMutate(data, size, limit);
  std::string header(reinterpret_cast<const char*>(data) + kLengthBytes, length);
  std::string changed = choices.one_in(3) ? "" : mutated_json(header, choices);
  if (changed.empty()) {
    const Bytes bytes = mutated({header.begin(), header.end()}, 64);
    changed.assign(bytes.begin(), bytes.end());
  }
  Bytes values(data + kLengthBytes + length, data + size);
  if (!choices.one_in(4)) values.resize(data_size(changed, values.size()), 1);
  if (!choices.one_in(4)) set_checksum(changed, values);
  length = changed.size();
  Bytes file(kLengthBytes);
  std::memcpy(file.data(), &length, kLengthBytes);
  file.insert(file.end(), changed.begin(), changed.end());
  file.insert(file.end(), values.begin(), values.end());
  return stored(file, data, size, limit);
}
