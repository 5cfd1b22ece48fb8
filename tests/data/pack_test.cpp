// Images packed into one file, and what comes out of it.
#include "data/pack.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>
#include <numeric>

#include "core/safetensors.h"
#include "data/loader.h"
#include "data/unreadable.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;
using testing::HasSubstr;

constexpr int64_t kPackRows = 600;  // more than are packed at once

// Row r is a picture of (9 + r % 5) x 11 that no other row has, of 16 bits where r % 7 is 3. Rows 5, 15, ...
// have none; `broken` cannot be read; `colored` are in color, and rows of `equal` have three equal channels.
class VariedImages : public ImageSource {
 public:
  Tensor read(int64_t row) const override {
    ++reads;
    if (row == broken) core::throw_input_error({file(row)}, "truncated PNG");
    const bool deep = row % 7 == 3;
    const int64_t height = 9 + row % 5, width = 11, channels = row == colored || row == equal ? 3 : 1;
    const Tensor image = Tensor::empty({height, width, channels}, deep ? DType::i32 : DType::u8);
    for (int64_t i = 0; i < image.numel(); ++i) {
      const int64_t place = row == equal ? i / 3 : i;
      if (deep) image.data<int32_t>()[i] = static_cast<int32_t>((row * 977 + place * 613) % 65536);
      if (!deep) image.data<uint8_t>()[i] = static_cast<uint8_t>(row * 7 + place * (row % 5 + 1));
    }
    return image;
  }
  bool present(int64_t row) const override { return row % 10 != 5; }
  std::string file(int64_t row) const override { return fmt::format("{}.png", row); }
  int64_t encoded_size(int64_t row) const override { return 100 + row; }

  int64_t broken = -1, colored = -1, equal = -1;
  mutable std::atomic<int64_t> reads = 0;
};

class Pack : public testing::Test {
 protected:
  Pack() {
    format_ = {8, 1, Normalization::fixed, {0.5}, {0.25}, true};
    dataset_.images = images_;
    dataset_.hash = 77;
    dataset_.targets = Tensor::zeros({kPackRows, 1});
    for (int64_t row = 0; row < kPackRows; ++row) dataset_.ids.push_back(fmt::format("a{}.png", row));
    job_.path = path_;
    job_.note = [this](const std::string& note) { notes_.push_back(note); };
  }

  PackResult pack() { return make_pack(dataset_, format_, job_); }
  Dataset packed() const {
    Dataset dataset = dataset_;
    use_pack(dataset, path_, format_);
    return dataset;
  }
  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void change_byte(const std::string& path, int64_t place) const {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(place);
    const int byte = file.get();
    file.seekp(place);
    file.put(static_cast<char>(byte ^ 1));
  }
  // All batches of an augmented epoch, in the order of the epoch.
  std::vector<float> epoch_of(const Dataset& dataset, int workers) const {
    std::vector<int64_t> rows(kPackRows);
    std::iota(rows.begin(), rows.end(), 0);
    LoaderOptions options;
    options.format = format_;
    options.batch_size = 32;
    options.shuffle = true;
    options.augment.emplace();
    options.workers = workers;
    Loader loader(dataset, rows, Batch{}, options);
    loader.begin_epoch(3);
    std::vector<float> result;
    for (Batch batch; loader.next(batch);) {
      const float* pixels = batch.images.data<float>();
      result.insert(result.end(), pixels, pixels + batch.images.numel());
    }
    return result;
  }
  void expect_same_epoch() const {
    const std::vector<float> of_images = epoch_of(dataset_, 2);
    const int64_t before = images_->reads;
    const std::vector<float> of_pack = epoch_of(packed(), 2);
    EXPECT_EQ(images_->reads, before) << "an image was decoded";
    ASSERT_EQ(of_images.size(), of_pack.size());
    EXPECT_EQ(std::memcmp(of_images.data(), of_pack.data(), of_pack.size() * sizeof(float)), 0);
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_.path("pack.safetensors");
  std::shared_ptr<VariedImages> images_ = std::make_shared<VariedImages>();
  Dataset dataset_;
  ImageFormat format_;
  PackJob job_;
  std::vector<std::string> notes_;
};

TEST_F(Pack, HoldsWhatTheImagesAreRoundedTo) {
  const PackResult result = pack();
  EXPECT_EQ(result.rows, kPackRows);
  EXPECT_EQ(result.images, kPackRows - 60);
  EXPECT_EQ(result.stored_channels, 1);
  const Dataset dataset = packed();
  for (int64_t row = 0; row < kPackRows; ++row) {
    EXPECT_EQ(dataset.images->is_packed(row), images_->present(row));
    const Tensor pixels = dataset.images->packed(row);
    ASSERT_EQ(pixels.defined(), images_->present(row));
    if (!pixels.defined()) continue;
    const Tensor exact = resize(to_unit_range(images_->read(row), 1), 8, 8);
    for (int64_t i = 0; i < exact.numel(); ++i) EXPECT_NEAR(pixels.at(i), 255.0 * exact.at(i), 0.5001);
  }
  EXPECT_EQ(dataset.images->read(4).size(0), 13) << "the original is as it was";
  EXPECT_EQ(dataset.images->encoded_size(4), 104);
  EXPECT_TRUE(notes_.empty());
}

TEST_F(Pack, AnEpochFromItIsTheSameToTheBit) {
  pack();
  expect_same_epoch();
}

TEST_F(Pack, ColorTakesThreeChannels) {
  format_ = {8, 3, Normalization::image, {}, {}, true};
  images_->equal = 2;  // is gray
  EXPECT_EQ(pack().stored_channels, 1);
  expect_same_epoch();
  images_->colored = 401;
  dataset_.hash = 78;
  EXPECT_EQ(pack().stored_channels, 3);
  EXPECT_THAT(notes_, testing::ElementsAre("'a401.png' is in color: begun anew with three channels"));
  expect_same_epoch();
}

// Read by the reader of weights, which takes no holes, and with the names of this page alone.
TEST_F(Pack, IsASafetensorsFile) {
  images_->colored = 0;
  format_ = {8, 3, Normalization::fixed, {}, {}, true};
  pack();
  std::map<std::string, std::string> metadata;
  const auto tensors = core::load_safetensors(path_, &metadata);
  ASSERT_EQ(tensors.size(), 4U);
  EXPECT_EQ(metadata["kind"], "medfusion pack");
  EXPECT_EQ(metadata["image_size"], "8");
  const Tensor images = tensors.at("images"), present = tensors.at("present"), ids = tensors.at("ids");
  EXPECT_EQ(images.shape(), (core::Shape{kPackRows, 8, 8, 3}));
  EXPECT_EQ(images.dtype(), DType::u8);
  EXPECT_EQ(tensors.at("checksums").shape(), (core::Shape{kPackRows}));
  const Dataset dataset = packed();
  for (int64_t row = 0; row < kPackRows; ++row) {
    EXPECT_EQ(present.data<bool>()[row], row % 10 != 5);
    EXPECT_EQ(tensors.at("checksums").data<int64_t>()[row] != 0, row % 10 != 5);
    if (row % 10 == 5) continue;
    const Tensor seen = dataset.images->packed(row);
    EXPECT_EQ(images.data<uint8_t>()[row * 192 + 50], seen.at(seen.size(2) == 3 ? 50 : 50 / 3));
  }
  std::string names(reinterpret_cast<const char*>(ids.data<uint8_t>()), static_cast<size_t>(ids.numel()));
  EXPECT_TRUE(names.starts_with(std::string("a0.png\0a1.png\0", 14)));
  EXPECT_EQ(std::count(names.begin(), names.end(), '\0'), kPackRows - 1);
  // The pixels begin at a page: the file's mapping needs no copy to be aligned.
  uint64_t header = 0;
  std::memcpy(&header, bytes().data(), sizeof(header));
  EXPECT_EQ((8 + header + 8 * kPackRows) % 4096, 0U);
}

TEST_F(Pack, GoesOnWhereItWasEnded) {
  pack();
  const std::string whole = bytes();
  std::filesystem::remove(path_);
  {
    PackWriter writer(path_, dataset_, format_, 1);
    writer.pack(0, 250, job_);
  }
  images_->reads = 0;
  const PackResult result = pack();
  EXPECT_EQ(result.finished, 225);
  EXPECT_EQ(images_->reads, 315);
  EXPECT_TRUE(bytes() == whole);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));

  // A power cut may lose any of what was written.
  std::filesystem::rename(path_, path_ + ".partial");
  std::filesystem::resize_file(path_ + ".partial", whole.size() / 2);
  change_byte(path_ + ".partial", PackLayout(dataset_, format_, 1).images_at + 3 * 64);
  images_->reads = 0;
  pack();
  EXPECT_GT(images_->reads, 200);
  EXPECT_LT(images_->reads, 540);
  EXPECT_TRUE(bytes() == whole);
}

TEST_F(Pack, RangesOfRowsGiveTheSameFileInAnyOrder) {
  pack();
  const std::string whole = bytes();
  std::filesystem::remove(path_);
  PackWriter second(path_, dataset_, format_, 1, false), first(path_, dataset_, format_, 1, false);
  second.pack(333, kPackRows, job_);
  first.pack(0, 333, job_);
  first.commit();
  EXPECT_TRUE(bytes() == whole);
}

TEST_F(Pack, APartialOfOtherDataIsBegunAnew) {
  pack();
  const std::string whole = bytes();
  std::filesystem::remove(path_);
  dataset_.hash = 78;
  { PackWriter(path_, dataset_, format_, 1).pack(0, 250, job_); }
  dataset_.hash = 77;
  EXPECT_EQ(pack().finished, 0);
  EXPECT_THAT(notes_,
              testing::ElementsAre(path_ + ".partial: is of other data or another format; begun anew"));
  EXPECT_TRUE(bytes() == whole);
}

TEST_F(Pack, OneProcessWritesAtATime) {
  const PackWriter writer(path_, dataset_, format_, 1);
  EXPECT_EQ(input_error([&] { pack(); }), path_ + ".partial: another medfusion is writing here");
}

TEST_F(Pack, AWholePackIsCheckedAndADamagedOneMadeAnew) {
  pack();
  const std::string whole = bytes();
  images_->reads = 0;
  EXPECT_TRUE(pack().was_there);
  EXPECT_EQ(images_->reads, 0);
  change_byte(path_, PackLayout(dataset_, format_, 1).images_at + 7 * 64 + 5);
  EXPECT_FALSE(pack().was_there);
  EXPECT_THAT(notes_, testing::ElementsAre(path_ + ": 1 of 600 rows are damaged; made anew"));
  EXPECT_TRUE(bytes() == whole);
}

TEST_F(Pack, ADamagedByteIsRefusedWhenItsRowIsRead) {
  pack();
  change_byte(path_, PackLayout(dataset_, format_, 1).images_at + 7 * 64 + 5);
  const Dataset dataset = packed();
  EXPECT_TRUE(dataset.images->packed(6).defined());
  EXPECT_EQ(input_error([&] { dataset.images->packed(7); }),
            path_ +
                ": damaged: the pixels of row 7 have another checksum than the pack states; medfusion pack "
                "makes it anew");
}

TEST_F(Pack, OtherDataAndFormatsAreRefused) {
  pack();
  const auto refusal = [&](const Dataset& dataset, const ImageFormat& format) {
    Dataset copy = dataset;
    return input_error([&] { use_pack(copy, path_, format); });
  };
  ImageFormat other = format_;
  other.size = 16;
  const std::string again = "; medfusion pack makes it anew";
  EXPECT_EQ(refusal(dataset_, other),
            path_ + ": expected a pack for data.image_size = 16, got one for 8" + again);
  other = format_;
  other.channels = 3;
  EXPECT_EQ(refusal(dataset_, other),
            path_ + ": expected a pack for data.channels = 3, got one for 1" + again);
  Dataset changed = dataset_;
  changed.hash = 78;
  EXPECT_EQ(refusal(changed, format_),
            path_ +
                ": expected a pack of these data, whose hash is 000000000000004e, got one of the hash "
                "000000000000004d: a table, a list or an image has changed, or they are other data" +
                again);
  changed = dataset_;
  std::swap(changed.ids[3], changed.ids[4]);
  EXPECT_EQ(refusal(changed, format_), path_ + ": damaged, or a pack of other ids" + again);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_THAT(refusal(dataset_, format_), HasSubstr("cut short: expected "));
  const std::string deep = std::string("\x00\x00\x01\0\0\0\0\0", 8) + std::string(1 << 16, '[');
  for (const std::string& text :
       {std::string(), std::string("words"), std::string("\x02\0\0\0\0\0\0\0{}", 10), deep}) {
    folder_.write("pack.safetensors", text);
    EXPECT_EQ(refusal(dataset_, format_), path_ + ": expected a file of medfusion pack, got another file");
    EXPECT_EQ(input_error([&] { pack(); }),
              path_ + ": expected a file of medfusion pack or none, got another file");
  }
}

TEST_F(Pack, ImagesThatCannotBeReadFollowOnError) {
  images_->broken = 301;
  EXPECT_EQ(input_error([&] { pack(); }), "301.png: truncated PNG");
  EXPECT_FALSE(std::filesystem::exists(path_));
  job_.skip_unreadable = true;
  const PackResult result = pack();
  EXPECT_GE(result.finished, 225);
  ASSERT_EQ(result.skipped.size(), 1U);
  EXPECT_EQ(result.skipped.front().id, "a301.png");
  EXPECT_EQ(result.skipped.front().reason, "truncated PNG");
  // The rows that are left out, and the reason, are as without the pack; one image alone is decoded for it.
  Dataset plain = dataset_, of_pack = packed();
  skip_unreadable(plain);
  images_->reads = 0;
  skip_unreadable(of_pack);
  EXPECT_EQ(images_->reads, 1);
  EXPECT_EQ(of_pack.hash, plain.hash);
  EXPECT_EQ(of_pack.ids, plain.ids);
  EXPECT_EQ(of_pack.notes, plain.notes);
  EXPECT_EQ(of_pack.skipped.front().reason, plain.skipped.front().reason);
  EXPECT_TRUE(of_pack.images->packed(301).defined()) << "the next row";
}

}  // namespace
}  // namespace medfusion::data
