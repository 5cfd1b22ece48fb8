#include "core/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "core/file.h"

namespace medfusion::core {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the file holds little-endian data");

constexpr const char* kMetadata = "__metadata__";
constexpr std::string_view kNoChecksum = "0000000000000000";  // in its place while it is computed
constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // what the format allows

// Of the header, with kNoChecksum in its place, and the data.
class Checksum {
 public:
  Checksum() { XXH3_64bits_reset(state_.get()); }
  void add(const void* bytes, int64_t count) {
    XXH3_64bits_update(state_.get(), bytes, static_cast<size_t>(count));
  }
  std::string text() const { return fmt::format("{:016x}", XXH3_64bits_digest(state_.get())); }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_{XXH3_createState(), XXH3_freeState};
};

// Where the value of the checksum begins in the text of a header; npos where it has none.
size_t checksum_place(std::string_view header) {
  const std::string key = fmt::format("\"{}\":\"", kChecksum);
  const size_t found = header.find(key);
  if (found == std::string_view::npos || found + key.size() + kNoChecksum.size() > header.size())
    return std::string_view::npos;
  return found + key.size();
}

class File {
 public:
  explicit File(const std::string& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

  // The number of bytes read before the end of the file; -1 on an error, in errno.
  int64_t read(void* to, int64_t bytes) const {
    int64_t done = 0;
    while (done < bytes) {
      const ssize_t count =
          ::read(descriptor_, static_cast<char*>(to) + done, static_cast<size_t>(bytes - done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return -1;
      if (count == 0) break;
      done += count;
    }
    return done;
  }

 private:
  int descriptor_;
};

const char* format_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::bf16:
      return "BF16";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  return "?";
}

// A name as it may be printed: quoted, on one line.
std::string printable(const std::string& name) {
  return json(name).dump(-1, ' ', false, json::error_handler_t::replace);
}

// Where one tensor lies in the data.
struct Entry {
  std::string name;
  DType dtype = DType::f32;
  bool half = false;  // F16, converted to dtype on reading
  Shape shape;
  int64_t begin = 0;
  int64_t end = 0;
};

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1FU;
  const uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide = exponent == 31 ? 0xFFU : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path) {
    if (!file_.is_open()) fail("cannot open: {}", std::strerror(errno));
    struct stat status {};
    if (::fstat(file_.descriptor(), &status) != 0) fail("cannot read: {}", std::strerror(errno));
    if (!S_ISREG(status.st_mode))
      fail("expected a safetensors file, got something that is not a regular file");
    size_ = static_cast<uint64_t>(status.st_size);
  }

  std::map<std::string, Tensor> read(std::map<std::string, std::string>* metadata) {
    const json header = read_header();
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        read_metadata(value, metadata);
      } else {
        entries.push_back(parse_entry(name, value));
      }
    }
    check_offsets(entries);
    std::map<std::string, Tensor> tensors;
    for (const Entry& entry : entries) tensors.emplace(entry.name, read_tensor(entry));
    check_checksum(header);
    return tensors;
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw_input_error({path_, 0, 0}, fmt::format(format, std::forward<Args>(args)...));
  }

  void read_bytes(void* to, int64_t bytes, const std::string& what) const {
    const int64_t count = file_.read(to, bytes);
    if (count < 0) fail("cannot read {}: {}", what, std::strerror(errno));
    if (count < bytes) fail("cut short: {} should have {} bytes, got {}", what, bytes, count);
  }

  void check_checksum(const json& header) const {
    if (!header.contains(kMetadata) || !header[kMetadata].contains(kChecksum)) return;
    const auto stated = header[kMetadata][kChecksum].get<std::string>();
    const std::string found = checksum_ ? checksum_->text() : "none";
    if (stated != found) {
      fail("damaged, or changed by another program: expected the checksum {}, got {}", printable(stated),
           found);
    }
  }

  json read_header() {
    if (size_ < kLengthBytes) {
      fail("cut short: expected a safetensors header of at least {} bytes, got a file of {}", kLengthBytes,
           size_);
    }
    uint64_t length = 0;
    read_bytes(&length, kLengthBytes, "the length of the header");
    if (length > kMaxHeaderBytes) {
      fail("not a safetensors file: the header would have {} bytes, at most {} are allowed", length,
           kMaxHeaderBytes);
    }
    if (length > size_ - kLengthBytes) {
      fail("cut short: the header should have {} bytes, the file holds {} after its length", length,
           size_ - kLengthBytes);
    }
    std::string text(length, '\0');
    read_bytes(text.data(), static_cast<int64_t>(length), "the header");
    if (const size_t place = checksum_place(text); place != std::string::npos) {
      std::string zeroed = text;
      zeroed.replace(place, kNoChecksum.size(), kNoChecksum);
      checksum_.emplace();
      checksum_->add(zeroed.data(), static_cast<int64_t>(length));
    }
    data_size_ = static_cast<int64_t>(size_ - kLengthBytes - length);
    return parse_header(text);
  }

  json parse_header(const std::string& text) const {
    std::vector<std::set<std::string>> open;  // the keys seen in each object around the current place
    const auto reject_duplicates = [&](int depth, json::parse_event_t event, json& value) {
      if (depth > 16) fail("bad header: expected lists and objects at most 16 deep, got more");
      if (event == json::parse_event_t::object_start) open.emplace_back();
      if (event == json::parse_event_t::object_end) open.pop_back();
      if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) {
        fail("bad header: the name {} appears twice", printable(value.get<std::string>()));
      }
      return true;
    };
    try {
      json header = json::parse(text, reject_duplicates);
      if (!header.is_object()) fail("bad header: expected a JSON object, got {}", header.type_name());
      return header;
    } catch (const json::parse_error& error) {
      fail("bad header: not valid JSON at byte {} of it", error.byte);
    } catch (const json::exception&) {
      fail("bad header: it holds a number that is too large");
    }
  }

  void read_metadata(const json& value, std::map<std::string, std::string>* metadata) const {
    if (!value.is_object()) fail("bad header: {} should be an object, got {}", kMetadata, value.type_name());
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        fail("bad header: {} should map text to text, but {} has {}", kMetadata, printable(key),
             text.type_name());
      }
      if (metadata != nullptr) (*metadata)[key] = text.get<std::string>();
    }
  }

  // A JSON number that is a size or an offset.
  std::optional<int64_t> as_size(const json& value) const {
    if (!value.is_number_unsigned()) return std::nullopt;
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(number);
  }

  Entry parse_entry(const std::string& name, const json& value) const {
    const auto member = [&](const char* key) -> const json& {
      if (!value.is_object() || !value.contains(key)) {
        fail("bad header: {} should have dtype, shape and data_offsets, but {} is missing", printable(name),
             key);
      }
      return value[key];
    };
    Entry entry;
    entry.name = name;
    set_dtype(entry, member("dtype"));
    const int64_t bytes = set_shape(entry, member("shape"));
    const json& offsets = member("data_offsets");
    const bool pair = offsets.is_array() && offsets.size() == 2;
    const auto begin = pair ? as_size(offsets[0]) : std::nullopt;
    const auto end = pair ? as_size(offsets[1]) : std::nullopt;
    if (!begin || !end || *begin > *end) {
      fail("bad header: data_offsets of {} should be [begin, end], got {}", printable(name), brief(offsets));
    }
    if (*end > data_size_) {
      fail("cut short: {} ends at byte {} of the data, but the file holds {}", printable(name), *end,
           data_size_);
    }
    if (*end - *begin != bytes) {
      fail("bad header: {} {} {} should have {} bytes, its data_offsets give {}", printable(name),
           format_name(entry.dtype), entry.shape.str(), bytes, *end - *begin);
    }
    entry.begin = *begin;
    entry.end = *end;
    return entry;
  }

  void set_dtype(Entry& entry, const json& value) const {
    entry.half = value == "F16";
    if (entry.half) return;
    for (const DType dtype :
         {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
      if (value == format_name(dtype)) {
        entry.dtype = dtype;
        return;
      }
    }
    fail("dtype of {}: expected F32, F64, F16, BF16, I64, I32, U8 or BOOL, got {}", printable(entry.name),
         brief(value));
  }

  // Returns the number of bytes in the file.
  int64_t set_shape(Entry& entry, const json& value) const {
    if (!value.is_array()) {
      fail("bad header: shape of {} should be a list of sizes, got {}", printable(entry.name), brief(value));
    }
    if (value.size() > static_cast<size_t>(kMaxRank)) {
      fail("{} has {} dimensions, at most {} are supported", printable(entry.name), value.size(), kMaxRank);
    }
    int64_t bytes = entry.half ? 2 : size_of(entry.dtype);
    int64_t strides = bytes;  // the product of the sizes that are not 0 must fit too
    bool overflow = false;
    for (const json& item : value) {
      const auto size = as_size(item);
      if (!size) {
        fail("bad header: shape of {} should be a list of sizes, got {}", printable(entry.name),
             brief(value));
      }
      entry.shape.push_back(*size);
      overflow |= __builtin_mul_overflow(strides, std::max<int64_t>(1, *size), &strides);
      if (!overflow) bytes *= *size;
    }
    if (overflow) {
      fail("bad header: shape of {} is too large: {}", printable(entry.name), entry.shape.str());
    }
    return bytes;
  }

  static std::string brief(const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return text;
  }

  // Sorts by place; the data must be covered without overlap or hole.
  void check_offsets(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    int64_t place = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < place) {
        fail("bad header: {} begins at byte {} of the data, inside another tensor that ends at {}",
             printable(entry.name), entry.begin, place);
      }
      if (entry.begin > place) {
        fail("bad header: bytes {} to {} of the data belong to no tensor", place, entry.begin);
      }
      place = entry.end;
    }
    if (place != data_size_) {
      fail("expected {} bytes of data after the header, got {}", place, data_size_);
    }
  }

  Tensor read_tensor(const Entry& entry) {
    Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
    const std::string what = printable(entry.name);
    if (entry.half) {
      std::vector<uint16_t> halves(static_cast<size_t>(tensor.numel()));
      read_bytes(halves.data(), entry.end - entry.begin, what);
      if (checksum_) checksum_->add(halves.data(), entry.end - entry.begin);
      std::transform(halves.begin(), halves.end(), tensor.data<float>(), half_to_float);
      return tensor;
    }
    read_bytes(tensor.view().data, tensor.bytes(), what);
    if (checksum_) checksum_->add(tensor.view().data, tensor.bytes());
    if (entry.dtype == DType::boolean) {
      const auto* bytes = static_cast<const uint8_t*>(tensor.view().data);
      const auto* bad = std::find_if(bytes, bytes + tensor.numel(), [](uint8_t byte) { return byte > 1; });
      if (bad != bytes + tensor.numel()) {
        fail("{}[{}]: expected a bool (0 or 1), got {}", what, bad - bytes, *bad);
      }
    }
    return tensor;
  }

  const std::string& path_;
  File file_;
  uint64_t size_ = 0;
  int64_t data_size_ = 0;
  std::optional<Checksum> checksum_;  // where the header states one
};

struct Item {
  std::string name;
  Tensor tensor;  // contiguous
};

// In the order of the data: large elements first, so that every tensor is aligned to its element.
std::vector<Item> in_file_order(const std::string& path, const std::map<std::string, Tensor>& tensors) {
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    MEDFUSION_CHECK(tensor.defined(), "{}: cannot save {}: it is undefined", path, printable(name));
    MEDFUSION_CHECK(name != kMetadata, "{}: a tensor cannot be named {}", path, kMetadata);
    items.push_back({name, tensor.to(Device{}).to_contiguous()});
  }
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return size_of(a.tensor.dtype()) > size_of(b.tensor.dtype());
  });
  return items;
}

std::string make_header(const std::string& path, const std::vector<Item>& items,
                        const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  header[kMetadata] = metadata;
  header[kMetadata][kChecksum] = kNoChecksum;
  int64_t place = 0;
  for (const auto& [name, tensor] : items) {
    const int64_t end = place + tensor.bytes();
    header[name] = {{"dtype", format_name(tensor.dtype())},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {place, end}}};
    place = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    throw Error(fmt::format("{}: cannot save: a name or the metadata is not valid UTF-8", path));
  }
  while (text.size() % 8 != 0) text += ' ';  // aligns the data
  MEDFUSION_CHECK(text.size() <= kMaxHeaderBytes,
                  "{}: the header would have {} bytes, at most {} are allowed", path, text.size(),
                  kMaxHeaderBytes);
  return text;
}

}  // namespace

std::map<std::string, Tensor> load_safetensors(const std::string& path,
                                               std::map<std::string, std::string>* metadata) {
  return Reader(path).read(metadata);
}

void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  const std::vector<Item> items = in_file_order(path, tensors);
  std::string header = make_header(path, items, metadata);
  Checksum checksum;
  checksum.add(header.data(), static_cast<int64_t>(header.size()));
  for (const Item& item : items) checksum.add(item.tensor.view().data, item.tensor.bytes());
  header.replace(checksum_place(header), kNoChecksum.size(), checksum.text());
  WholeFile file(path, true);
  const uint64_t length = header.size();
  file.write(&length, kLengthBytes);
  file.write(header.data(), static_cast<int64_t>(length));
  for (const Item& item : items) file.write(item.tensor.view().data, item.tensor.bytes());
  file.commit();
}

}  // namespace medfusion::core
