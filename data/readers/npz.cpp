#include "data/readers/npz.h"

#include <zip.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <fstream>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/file_kind.h"
#include "data/readers/csv.h"

namespace medfusion::data {

struct NpzFile::Archive {
  zip_t* zip = nullptr;
  ~Archive() { zip_discard(zip); }
};

namespace {

// Arrays of the sizes met here have few dimensions; more would not fit a Shape.
constexpr size_t kMaxHeader = 1 << 16;
constexpr uint64_t kMostUnpacked = 1032;  // bytes that one byte of deflate may stand for

// One .npy file inside the archive, read from its start.
class Entry {
 public:
  Entry(zip_t* zip, const std::string& path, const std::string& name, int64_t most_bytes)
      : label_(path + "/" + name) {
    zip_stat_t stat;
    if (zip_stat(zip, name.c_str(), 0, &stat) != 0 || (stat.valid & ZIP_STAT_SIZE) == 0) {
      core::throw_input_error({path}, "expected an array {}, got none", name);
    }
    if (stat.size > static_cast<uint64_t>(most_bytes)) {
      fail(fmt::format("expected an array of at most {} MiB (data.max_array_megabytes), got {} bytes",
                       most_bytes / kMegabyte, stat.size));
    }
    if ((stat.valid & ZIP_STAT_COMP_SIZE) != 0 && stat.size / kMostUnpacked > stat.comp_size)
      fail(fmt::format("damaged: {} bytes cannot hold an array of {}", stat.comp_size, stat.size));
    left_ = static_cast<int64_t>(stat.size);
    file_ = {zip_fopen(zip, name.c_str(), 0), zip_fclose};
    if (!file_) fail(fmt::format("cannot open: {}", zip_strerror(zip)));
  }

  [[noreturn]] void fail(const std::string& message) const { core::throw_input_error({label_}, message); }
  int64_t left() const { return left_; }

  void read(void* data, int64_t count) {
    if (count > left_) fail("the array is cut short");
    auto* bytes = static_cast<unsigned char*>(data);
    while (count > 0) {
      const zip_int64_t got = zip_fread(file_.get(), bytes, static_cast<zip_uint64_t>(count));
      if (got <= 0) fail(fmt::format("damaged: {}", got < 0 ? reason() : "cut short"));
      bytes += got;
      count -= got;
      left_ -= got;
    }
  }

  // The archive compares its checksum when the end has been read.
  void finish() {
    char byte = 0;
    if (zip_fread(file_.get(), &byte, 1) != 0) fail(fmt::format("damaged: {}", reason()));
  }

 private:
  std::string reason() const { return zip_error_strerror(zip_file_get_error(file_.get())); }

  std::string label_;
  std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file_{nullptr, zip_fclose};
  int64_t left_ = 0;
};

// The text of the header: a Python dictionary.
std::string read_header(Entry& entry) {
  std::array<unsigned char, 8> magic{};
  constexpr std::string_view kMagic = "\x93NUMPY";
  if (entry.left() < 10) entry.fail("expected an .npy array, got a file too short for one");
  entry.read(magic.data(), 8);
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 6) != kMagic) {
    entry.fail("expected an .npy array, got another format");
  }
  if (magic[6] < 1 || magic[6] > 3)
    entry.fail(fmt::format("expected .npy version 1, 2 or 3, got {}", magic[6]));
  std::array<unsigned char, 4> length{};
  entry.read(length.data(), magic[6] == 1 ? 2 : 4);
  const size_t size = length[0] | size_t{length[1]} << 8 | size_t{length[2]} << 16 | size_t{length[3]} << 24;
  if (size > kMaxHeader)
    entry.fail(fmt::format("expected a header of at most {} bytes, got {}", kMaxHeader, size));
  std::string header(size, '\0');
  entry.read(header.data(), static_cast<int64_t>(size));
  return header;
}

// What follows 'key': and `begin` in the header, up to one of the characters `end`.
std::string_view value_of(const Entry& entry, std::string_view header, std::string_view key,
                          std::string_view begin, std::string_view end) {
  const std::string quoted = fmt::format("'{}':", key);
  const size_t found = header.find(quoted);
  if (found == std::string_view::npos) entry.fail(fmt::format("expected '{}' in the header", key));
  std::string_view rest = trim(header.substr(found + quoted.size()));
  const size_t stop = rest.find_first_of(end, begin.size());
  if (!rest.starts_with(begin) || stop == std::string_view::npos) {
    entry.fail(fmt::format("cannot read '{}' in the header", key));
  }
  return rest.substr(begin.size(), stop - begin.size());
}

// The element types of NumPy that are read: its letter and size, and what the tensor holds.
struct NpzType {
  std::string_view name;
  core::DType dtype;
  int64_t size;
};

constexpr std::array kNpzTypes = {NpzType{"u1", core::DType::u8, 1},  NpzType{"b1", core::DType::boolean, 1},
                                  NpzType{"i1", core::DType::i32, 1}, NpzType{"u2", core::DType::i32, 2},
                                  NpzType{"i2", core::DType::i32, 2}, NpzType{"i4", core::DType::i32, 4},
                                  NpzType{"u4", core::DType::i64, 4}, NpzType{"i8", core::DType::i64, 8},
                                  NpzType{"u8", core::DType::i64, 8}, NpzType{"f4", core::DType::f32, 4},
                                  NpzType{"f8", core::DType::f64, 8}};

const NpzType& parse_type(const Entry& entry, std::string_view text) {
  constexpr std::string_view kByteOrders = "<>|=";
  if (text.size() == 3 && kByteOrders.find(text[0]) != std::string_view::npos) {
    for (const NpzType& type : kNpzTypes) {
      if (text.substr(1) == type.name) return type;
    }
  }
  entry.fail(fmt::format(
      "expected elements of an integer type, bool, f4 or f8, such as '|u1' or '<i4', got '{}'", text));
}

// Reads `tensor`, contiguous, element by element of another width or byte order.
void read_elements(Entry& entry, const NpzType& type, bool big_endian, const core::Tensor& tensor) {
  const int64_t count = tensor.numel();
  std::vector<uint8_t> bytes(static_cast<size_t>(count * type.size));
  if (count > 0) entry.read(bytes.data(), count * type.size);
  const auto size = static_cast<size_t>(type.size);
  const auto convert = [&](auto* out) {
    using Value = std::remove_reference_t<decltype(*out)>;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const uint8_t* element = &bytes[i * size];
      uint64_t bits = 0;
      for (size_t k = 0; k < size; ++k) bits = bits << 8 | element[big_endian ? k : size - 1 - k];
      if constexpr (std::is_floating_point_v<Value>) {
        out[i] = sizeof(Value) == 4 ? static_cast<Value>(std::bit_cast<float>(static_cast<uint32_t>(bits)))
                                    : static_cast<Value>(std::bit_cast<double>(bits));
      } else {
        const bool negative = type.name[0] == 'i' && (bits >> (8 * size - 1)) != 0;
        if (negative && size < 8) bits |= ~uint64_t{0} << (8 * size);
        if (type.name == "u8" && bits >> 63 != 0)
          entry.fail("expected integers below 2^63, got a larger one");
        out[i] = static_cast<Value>(static_cast<int64_t>(bits));
      }
    }
  };
  switch (tensor.dtype()) {
    case core::DType::i32:
      return convert(tensor.data<int32_t>());
    case core::DType::i64:
      return convert(tensor.data<int64_t>());
    case core::DType::f32:
      return convert(tensor.data<float>());
    default:
      return convert(tensor.data<double>());
  }
}

// An array whose first index runs fastest lies as the transpose does in C order.
core::Tensor from_fortran(core::Tensor reversed) {
  for (int first = 0, last = reversed.rank() - 1; first < last; ++first, --last)
    reversed = reversed.transpose(first, last);
  return reversed.to_contiguous();
}

core::Shape parse_shape(const Entry& entry, std::string_view text) {
  core::Shape shape;
  for (std::string_view rest = trim(text); !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const auto size = parse_integer(trim(rest.substr(0, comma)));
    if (!size || *size < 0) entry.fail(fmt::format("cannot read the shape ({})", text));
    if (shape.rank() == core::kMaxRank) {
      entry.fail(fmt::format("expected at most {} dimensions, got the shape ({})", core::kMaxRank, text));
    }
    shape.push_back(*size);
    rest = trim(rest.substr(std::min(comma + 1, rest.size())));
  }
  return shape;
}

// numel * bytes per element, or -1 where that is more than `limit`.
int64_t byte_count(const core::Shape& shape, int64_t element, int64_t limit) {
  int64_t bytes = element;
  for (const int64_t size : shape) {
    if (size == 0) return 0;
  }
  for (const int64_t size : shape) {
    if (size > limit / bytes) return -1;
    bytes *= size;
  }
  return bytes;
}

}  // namespace

NpzFile::NpzFile(const std::string& path, int64_t most_bytes)
    : path_(path), most_bytes_(most_bytes), archive_(std::make_shared<Archive>()) {
  if (!std::filesystem::is_regular_file(path))
    core::throw_input_error({path}, "expected an .npz file, got no such file");
  int code = 0;
  archive_->zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (archive_->zip == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    std::string start(512, '\0');
    std::ifstream file(path, std::ios::binary);
    start.resize(
        static_cast<size_t>(file.read(start.data(), static_cast<std::streamsize>(start.size())).gcount()));
    const std::string kind = core::kind_of_file(start);
    if (!kind.empty() && !start.starts_with("PK"))
      core::throw_input_error({path}, "expected an .npz archive, got {}", kind);
    core::throw_input_error({path}, "expected an .npz archive: {}", reason);
  }
}

bool NpzFile::has(const std::string& name) const {
  return zip_name_locate(archive_->zip, (name + ".npy").c_str(), 0) >= 0;
}

core::Tensor NpzFile::read(const std::string& name) const {
  Entry entry(archive_->zip, path_, name + ".npy", most_bytes_);
  const std::string header = read_header(entry);
  const std::string_view descr = value_of(entry, header, "descr", "'", "'");
  const NpzType& type = parse_type(entry, descr);
  const std::string_view order = value_of(entry, header, "fortran_order", "", ",}");
  if (order != "True" && order != "False") entry.fail("cannot read 'fortran_order' in the header");
  core::Shape shape = parse_shape(entry, value_of(entry, header, "shape", "(", ")"));
  const int64_t bytes = byte_count(shape, type.size, entry.left());
  if (bytes != entry.left()) {
    entry.fail(fmt::format("expected the elements of shape {}, got {} bytes", shape.str(), entry.left()));
  }
  const bool fortran = order == "True" && shape.rank() > 1;
  if (fortran) std::reverse(shape.begin(), shape.end());
  core::Tensor tensor = core::Tensor::empty(shape, type.dtype);
  const bool big_endian = descr[0] == '>' && type.size > 1;
  if (big_endian || type.size != core::size_of(type.dtype) || type.name == "u8") {
    read_elements(entry, type, big_endian, tensor);
  } else if (bytes > 0) {
    entry.read(tensor.view().data, bytes);
  }
  entry.finish();
  if (type.dtype == core::DType::boolean) {  // any byte may come from a file, a bool holds 0 or 1
    auto* data = static_cast<unsigned char*>(tensor.view().data);
    for (int64_t i = 0; i < bytes; ++i) data[i] = data[i] != 0 ? 1 : 0;
  }
  return fortran ? from_fortran(tensor) : tensor;
}

}  // namespace medfusion::data
