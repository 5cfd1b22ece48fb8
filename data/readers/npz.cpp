#include "data/readers/npz.h"

#include <zip.h>

#include <array>
#include <filesystem>

#include "core/error.h"
#include "data/readers/csv.h"

namespace medfusion::data {

struct NpzFile::Archive {
  zip_t* zip = nullptr;
  ~Archive() { zip_discard(zip); }
};

namespace {

// Arrays of the sizes met here have few dimensions; more would not fit a Shape.
constexpr size_t kMaxHeader = 1 << 16;

// One .npy file inside the archive, read from its start.
class Entry {
 public:
  Entry(zip_t* zip, const std::string& path, const std::string& name) : label_(path + "/" + name) {
    zip_stat_t stat;
    if (zip_stat(zip, name.c_str(), 0, &stat) != 0 || (stat.valid & ZIP_STAT_SIZE) == 0) {
      core::throw_input_error({path}, "expected an array {}, got none", name);
    }
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

core::DType parse_dtype(const Entry& entry, std::string_view text) {
  constexpr std::array<std::pair<std::string_view, core::DType>, 6> kTypes = {{{"|u1", core::DType::u8},
                                                                               {"|b1", core::DType::boolean},
                                                                               {"<i4", core::DType::i32},
                                                                               {"<i8", core::DType::i64},
                                                                               {"<f4", core::DType::f32},
                                                                               {"<f8", core::DType::f64}}};
  for (const auto& [name, dtype] : kTypes) {
    if (text == name) return dtype;
  }
  entry.fail(fmt::format("expected elements of type |u1, |b1, <i4, <i8, <f4 or <f8, got '{}'", text));
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

NpzFile::NpzFile(const std::string& path) : path_(path), archive_(std::make_shared<Archive>()) {
  if (!std::filesystem::is_regular_file(path))
    core::throw_input_error({path}, "expected an .npz file, got no such file");
  int code = 0;
  archive_->zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (archive_->zip == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    core::throw_input_error({path}, "expected an .npz archive: {}", reason);
  }
}

bool NpzFile::has(const std::string& name) const {
  return zip_name_locate(archive_->zip, (name + ".npy").c_str(), 0) >= 0;
}

core::Tensor NpzFile::read(const std::string& name) const {
  Entry entry(archive_->zip, path_, name + ".npy");
  const std::string header = read_header(entry);
  const core::DType dtype = parse_dtype(entry, value_of(entry, header, "descr", "'", "'"));
  if (value_of(entry, header, "fortran_order", "", ",}") != "False") {
    entry.fail("expected an array in C order, got one in Fortran order");
  }
  const core::Shape shape = parse_shape(entry, value_of(entry, header, "shape", "(", ")"));
  const int64_t bytes = byte_count(shape, core::size_of(dtype), entry.left());
  if (bytes != entry.left()) {
    entry.fail(fmt::format("expected the elements of shape {}, got {} bytes", shape.str(), entry.left()));
  }
  core::Tensor tensor = core::Tensor::empty(shape, dtype);
  if (bytes > 0) entry.read(tensor.view().data, bytes);
  entry.finish();
  if (dtype == core::DType::boolean) {  // any byte may come from a file, a bool holds 0 or 1
    auto* data = static_cast<unsigned char*>(tensor.view().data);
    for (int64_t i = 0; i < bytes; ++i) data[i] = data[i] != 0 ? 1 : 0;
  }
  return tensor;
}

}  // namespace medfusion::data
