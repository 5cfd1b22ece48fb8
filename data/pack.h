// Images decoded, resized and rounded once, in one file that is mapped into memory (docs/data.md). It is a
// safetensors file of
//   checksums  I64 [N]           of each row's pixels (XXH3), 0 where it has none
//   images     U8 [N, H, W, C]   C is 3 where an image is in color, else 1; begins at a page (4096 bytes)
//   present    BOOL [N]          whether the row has pixels
//   ids        U8 [K]            of the rows, UTF-8, with a zero byte between two
// whose metadata names the data. The file depends on these alone, so one that is half done tells what it
// lacks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "data/dataset.h"
#include "data/images/transform.h"

namespace medfusion::data {

inline constexpr int64_t kPackedAtOnce = 256;  // rows between two reports of progress

// How the file of a dataset looks that has C = `channels`.
struct PackLayout {
  PackLayout(const Dataset& dataset, const ImageFormat& format, int64_t channels);

  int64_t rows, size, channels;
  std::string header;  // all bytes before the tensors
  std::string ids;
  int64_t checksums_at = 0, images_at = 0, present_at = 0, ids_at = 0, bytes = 0;  // places in the file

  int64_t image_bytes() const { return size * size * channels; }
};

// Gives the dataset, which is as its reader gave it, the images of the pack: ImageSource::packed() has them
// for rows that the pack has pixels of; the rest of the source stays as it is. The checksum of a row is
// compared whenever it is read. Throws core::InputError naming the file where it is no pack, or one of other
// data or of another format. Does nothing where the dataset has no images.
void use_pack(Dataset& dataset, const std::string& path, const ImageFormat& format);

struct PackJob {
  std::string path;
  bool skip_unreadable =
      false;  // images that cannot be read have no pixels; else the first of them is an error
  // Heard from the calling thread: how many rows were finished before and are left, that more are done, and
  // what the user should be told.
  std::function<void(int64_t finished, int64_t left)> begun = [](int64_t, int64_t) {};
  std::function<void(int64_t rows)> advanced = [](int64_t) {};
  std::function<void(const std::string&)> note = [](const std::string&) {};
};

// Makes a pack, in one process or several: of several, the first that is made is `alone`, and commits it when
// all have packed their rows; where one met an image in color, all begin anew with three channels. Until
// commit() it is called `path`.partial, and what of it was finished stays where a process ends: a row is
// finished where its checksum is that of its pixels. The bytes do not depend on who packed which rows, nor in
// which order.
class PackWriter {
 public:
  // Goes on with a partial of the same layout, or begins anew. `alone`: another process that writes it is
  // refused. The dataset, as its reader gave it, outlives the writer. Throws core::Error where the file
  // cannot be written.
  PackWriter(const std::string& path, const Dataset& dataset, const ImageFormat& format, int64_t channels,
             bool alone = true);
  ~PackWriter();
  PackWriter(const PackWriter&) = delete;
  PackWriter& operator=(const PackWriter&) = delete;

  // What became of a range of rows.
  struct Progress {
    int64_t finished = 0;             // were so before
    std::vector<SkippedRow> skipped;  // cannot be read; without pixels in the pack
    std::string in_color;             // id of the first image in color, for which one channel is not enough
  };
  // Packs those of the rows [first, last) that are not finished; job.path is not used. Ends at an image in
  // color where the layout has one channel. Throws the core::InputError of the first image that cannot be
  // read, unless such are skipped, and core::Error where the file cannot be written.
  Progress pack(int64_t first, int64_t last, const PackJob& job);
  // Gives the file its name, when all rows were packed.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct PackResult {
  int64_t rows = 0, stored_channels = 1;
  int64_t images = 0;      // rows that have pixels
  int64_t finished = 0;    // rows that were there before
  bool was_there = false;  // the whole pack, of right checksums
  std::vector<SkippedRow> skipped;
};

// Makes the whole pack; of several ranks each packs some of the rows, and rank 0 gets the result. Where
// `path` is the wanted pack already, its checksums are compared, and only one that is damaged is made anew.
// Throws core::InputError where `path` is there and no pack, or the dataset has no images.
PackResult make_pack(const Dataset& dataset, const ImageFormat& format, const PackJob& job,
                     core::Communicator* ranks = nullptr);

}  // namespace medfusion::data
