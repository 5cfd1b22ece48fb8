// NumPy archives: NpzFile on each array of a file, and the reader of the format "medmnist". Files are changed
// array by array and packed anew, so that sizes and checksums are right.
#include "data/readers/npz.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>

#include "data/readers/medmnist.h"
#include "tests/fuzz/fuzz.h"

namespace medfusion::fuzz {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;  // of an array that is changed

struct Member {
  std::string name;
  Bytes body;
  bool packed = false;
};

// What libzip finds in a file; nothing where it is damaged.
std::vector<Member> members_of(std::span<const uint8_t> file) {
  std::vector<Member> members;
  zip_source_t* source = zip_source_buffer_create(file.data(), file.size(), 0, nullptr);
  zip_t* zip = zip_open_from_source(source, ZIP_RDONLY, nullptr);
  if (zip == nullptr) {
    zip_source_free(source);
    return members;
  }
  for (zip_int64_t i = 0; i < std::min<zip_int64_t>(20, zip_get_num_entries(zip, 0)); ++i) {
    zip_stat_t stat;
    zip_file_t* member = zip_fopen_index(zip, static_cast<zip_uint64_t>(i), 0);
    if (member == nullptr) continue;
    if (zip_stat_index(zip, static_cast<zip_uint64_t>(i), 0, &stat) == 0 && stat.size <= kMostBytes) {
      Bytes body(stat.size);
      if (zip_fread(member, body.data(), stat.size) == static_cast<zip_int64_t>(stat.size))
        members.push_back({stat.name, std::move(body), stat.comp_method == ZIP_CM_DEFLATE});
    }
    zip_fclose(member);
  }
  zip_discard(zip);
  return members;
}

void append_number(uint64_t value, int bytes, Bytes& file) {
  for (int i = 0; i < bytes; ++i) file.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

Bytes deflated(const Bytes& body) {
  uLongf size = ::compressBound(body.size());
  Bytes packed(size);
  ::compress2(packed.data(), &size, body.data(), body.size(), 1);
  return {packed.begin() + 2,
          packed.begin() + static_cast<std::ptrdiff_t>(size) - 4};  // without zlib's frame
}

// The zip file of members. `lie` is added to the stated size of the last one.
Bytes file_with(const std::vector<Member>& members, uint64_t lie) {
  Bytes file, directory;
  for (const Member& member : members) {
    const Bytes body = member.packed ? deflated(member.body) : member.body;
    const size_t begin = file.size(), size = member.body.size() + (&member == &members.back() ? lie : 0);
    Bytes fields;  // that both headers have
    append_number(20, 2, fields);
    append_number(0, 2, fields);
    append_number(member.packed ? 8 : 0, 2, fields);
    append_number(0x21U << 16, 4, fields);
    append_number(::crc32(0, member.body.data(), static_cast<uInt>(member.body.size())), 4, fields);
    append_number(body.size(), 4, fields);
    append_number(size, 4, fields);
    append_number(member.name.size(), 2, fields);
    append_number(0, 2, fields);
    append_number(0x04034B50, 4, file);
    file.insert(file.end(), fields.begin(), fields.end());
    file.insert(file.end(), member.name.begin(), member.name.end());
    file.insert(file.end(), body.begin(), body.end());
    append_number(0x02014B50, 4, directory);
    append_number(20, 2, directory);
    directory.insert(directory.end(), fields.begin(), fields.end());
    directory.resize(directory.size() + 10);
    append_number(begin, 4, directory);
    directory.insert(directory.end(), member.name.begin(), member.name.end());
  }
  const size_t begin = file.size();
  file.insert(file.end(), directory.begin(), directory.end());
  append_number(0x06054B50, 4, file);
  append_number(0, 4, file);
  append_number(members.size() | members.size() << 16, 4, file);
  append_number(directory.size(), 4, file);
  append_number(begin, 4, file);
  append_number(0, 2, file);
  return file;
}

// Changes the header's text of an .npy array and makes its length right, or changes any bytes.
void change_body(Bytes& body, Choices& choices) {
  constexpr size_t kStart = 10;
  const size_t length = body.size() < kStart ? 0 : body[8] | size_t{body[9]} << 8;
  if (length == 0 || kStart + length > body.size() || choices.one_in(4)) {
    body = mutated(std::move(body), 64);
    return;
  }
  const auto text = body.begin() + kStart, end = text + static_cast<std::ptrdiff_t>(length);
  const Bytes values(end, body.end());
  const bool whole = choices.one_in(3);
  const Bytes header = whole ? Bytes(text, end) : mutated({text, end}, 64);
  body.resize(kStart);
  body[8] = static_cast<uint8_t>(header.size());
  body[9] = static_cast<uint8_t>(header.size() >> 8);
  body.insert(body.end(), header.begin(), header.end());
  const Bytes after = whole ? mutated(values, 64) : values;
  body.insert(body.end(), after.begin(), after.end());
}

void change_members(std::vector<Member>& members, Choices& choices) {
  static const std::vector<std::string> names = {"train_images.npy", "train_labels.npy", "val_images.npy",
                                                 "val_labels.npy",   "test_images.npy",  "test_labels.npy"};
  const size_t place = choices.below(members.size());
  switch (choices.below(10)) {
    case 0:
      members.erase(members.begin() + static_cast<std::ptrdiff_t>(place));
      break;
    case 1:
      members.push_back(Member(members[place]));
      members.back().name = choices.of(names);
      break;
    case 2:
      members[place].name = choices.of(names);
      break;
    case 3:
      members[place].packed = !members[place].packed;
      break;
    default:
      change_body(members[place].body, choices);
  }
}

}  // namespace
}  // namespace medfusion::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace medfusion::fuzz;
  const std::string& path = file_of({data, size});
  accepts([&] {
    const medfusion::data::NpzFile file(path);
    for (const char* name : {"a", "train_images", "train_labels"}) {
      if (file.has(name)) accepts([&] { file.read(name); });
    }
  });
  accepts([&] { medfusion::data::read_medmnist(path); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  using namespace medfusion::fuzz;
  Choices choices(seed);
  if (choices.one_in(10)) return LLVMFuzzerMutate(data, size, limit);
  std::vector<Member> members = members_of({data, size});
  if (members.empty()) return LLVMFuzzerMutate(data, size, limit);
  change_members(members, choices);
  const uint64_t lie = choices.one_in(20) ? uint64_t{1} << choices.below(32) : 0;
  return stored(file_with(members, lie), data, size, limit);
}
