#include "data/pack.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "data/pack_file.h"

namespace medfusion::data {
namespace {

using core::Tensor;
using Json = nlohmann::ordered_json;

constexpr int64_t kPage = 4096;
constexpr const char* kPackVersion = "1";

// The header of a safetensors file, with its length in front, padded so that the data begins `before` bytes
// before a page.
std::string header_text(const Json& header, int64_t before) {
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  while ((static_cast<int64_t>(sizeof(uint64_t) + text.size()) + before) % kPage != 0) text += ' ';
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

// The dataset's images, of which a pack holds most.
class PackedImages : public ImageSource {
 public:
  PackedImages(std::shared_ptr<ImageSource> images, PackFile file, PackLayout layout)
      : images_(std::move(images)), file_(std::move(file)), layout_(std::move(layout)) {}
  Tensor read(int64_t row) const override { return images_->read(row); }
  bool present(int64_t row) const override { return images_->present(row); }
  std::string file(int64_t row) const override { return images_->file(row); }
  int64_t encoded_size(int64_t row) const override { return images_->encoded_size(row); }
  uint64_t digest(int64_t row) const override { return images_->digest(row); }
  bool is_packed(int64_t row) const override { return file_.checksum(layout_, row) != 0; }

  Tensor packed(int64_t row) const override {
    MEDFUSION_CHECK(row >= 0 && row < layout_.rows, "PackedImages: row {} of {}", row, layout_.rows);
    if (!is_packed(row)) return {};
    const uint8_t* const pixels = file_.pixels(layout_, row);
    file_.fetch(pixels, layout_.image_bytes());
    if (pack_checksum(pixels, layout_.image_bytes()) != file_.checksum(layout_, row)) {
      core::throw_input_error({file_.path()},
                              "damaged: the pixels of row {} have another checksum than the pack states; "
                              "medfusion pack makes it anew",
                              row);
    }
    return without_equal_channels(Tensor::borrow(
        const_cast<uint8_t*>(pixels), {layout_.size, layout_.size, layout_.channels}, core::DType::u8));
  }

 private:
  std::shared_ptr<ImageSource> images_;
  PackFile file_;
  PackLayout layout_;
};

// Why the pack is not the wanted one, from its metadata.
[[noreturn]] void refuse(const std::string& path, const PackFile::Metadata& metadata,
                         const PackLayout& wanted) {
  const Json expected = Json::parse(wanted.header.substr(sizeof(uint64_t)))["__metadata__"];
  const auto of = [&](const char* key) { return metadata.contains(key) ? metadata.at(key) : "none"; };
  const auto differs = [&](const char* key) { return of(key) != expected[key].get<std::string>(); };
  const char* const again = "; medfusion pack makes it anew";
  if (differs("version"))
    core::throw_input_error({path}, "expected a pack of version {}, got {}{}", kPackVersion, of("version"),
                            again);
  for (const auto& [key, name] :
       {std::pair{"image_size", "data.image_size"}, {"channels", "data.channels"}}) {
    if (differs(key))
      core::throw_input_error({path}, "expected a pack for {} = {}, got one for {}{}", name,
                              expected[key].get<std::string>(), of(key), again);
  }
  core::throw_input_error(
      {path},
      "expected a pack of these data, whose hash is {}, got one of the hash {}: a table, a "
      "list or an image has changed, or they are other data{}",
      expected["data"].get<std::string>(), of("data"), again);
}

}  // namespace

PackLayout::PackLayout(const Dataset& dataset, const ImageFormat& format, int64_t channels_)
    : rows(dataset.size()), size(format.size), channels(channels_) {
  for (const std::string& id : dataset.ids)
    ids += (&id == &dataset.ids.front() ? "" : std::string(1, '\0')) + id;
  Json json;
  json["__metadata__"] = {{"kind", kPackKind},
                          {"version", kPackVersion},
                          {"data", fmt::format("{:016x}", dataset.hash)},
                          {"image_size", std::to_string(format.size)},
                          {"channels", std::to_string(format.channels)}};
  int64_t place = 0;
  const auto add = [&](const char* name, const char* dtype, const std::vector<int64_t>& shape,
                       int64_t length) {
    json[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {place, place + length}}};
    return std::exchange(place, place + length);
  };
  const auto checksum_bytes = rows * static_cast<int64_t>(sizeof(uint64_t));
  checksums_at = add("checksums", "I64", {rows}, checksum_bytes);
  images_at = add("images", "U8", {rows, size, size, channels}, rows * image_bytes());
  present_at = add("present", "BOOL", {rows}, rows);
  const auto id_bytes = static_cast<int64_t>(ids.size());
  ids_at = add("ids", "U8", {id_bytes}, id_bytes);
  header = header_text(json, checksum_bytes);
  const auto begin = static_cast<int64_t>(header.size());
  for (int64_t* at : {&checksums_at, &images_at, &present_at, &ids_at}) *at += begin;
  bytes = begin + place;
}

void use_pack(Dataset& dataset, const std::string& path, const ImageFormat& format) {
  if (dataset.images == nullptr) return;
  PackFile file = PackFile::open(path);
  const PackFile::Metadata metadata = file.metadata();
  if (!is_pack(metadata))
    core::throw_input_error({path}, "expected a file of medfusion pack, got another file");
  for (const int64_t channels : {1, 3}) {
    PackLayout layout(dataset, format, channels);
    if (!file.holds(0, layout.header)) continue;
    if (file.size() != layout.bytes)
      core::throw_input_error({path}, "cut short: expected {} bytes, got {}", layout.bytes, file.size());
    if (!file.holds(layout.ids_at, layout.ids))
      core::throw_input_error({path}, "damaged, or a pack of other ids; medfusion pack makes it anew");
    file.read_at_random();
    dataset.images = std::make_shared<PackedImages>(dataset.images, std::move(file), std::move(layout));
    return;
  }
  refuse(path, metadata, PackLayout(dataset, format, 1));
}

}  // namespace medfusion::data
