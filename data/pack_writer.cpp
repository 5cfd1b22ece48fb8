#include <algorithm>
#include <atomic>
#include <filesystem>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/threads.h"
#include "core/uncached.h"
#include "data/pack_file.h"
#include "data/unreadable.h"

namespace medfusion::data {
namespace {

using core::Tensor;

// What became of a row.
enum class RowFate : uint8_t { absent, packed, unreadable, in_color };

}  // namespace

struct PackWriter::State {
  const Dataset& dataset;
  const ImageFormat format;
  const PackLayout layout;
  core::LastingFile file;

  RowFate pack_row(int64_t row, std::string& fault);
  std::vector<int64_t> unfinished(int64_t first, int64_t last) const;
  bool pack_rows(const std::vector<int64_t>& rows, bool skip, Progress& progress);
};

PackWriter::PackWriter(const std::string& path, const Dataset& dataset, const ImageFormat& format,
                       int64_t channels, bool alone) {
  PackLayout layout(dataset, format, channels);
  const int64_t bytes = layout.bytes;
  state_.reset(new State{dataset, format, std::move(layout), {path, bytes, alone}});
  State& s = *state_;
  if (PackFile::open(s.file.partial()).holds(0, s.layout.header)) return;
  s.file.clear();
  s.file.write_at(0, s.layout.header.data(), static_cast<int64_t>(s.layout.header.size()));
}

PackWriter::~PackWriter() = default;

// Decodes a row's image, and writes its pixels and then their checksum, which says that it is finished.
RowFate PackWriter::State::pack_row(int64_t row, std::string& fault) {
  const core::UncachedMemory of_the_original;
  if (!dataset.images->present(row)) return RowFate::absent;
  Tensor pixels;
  try {
    pixels = packable_image(dataset.images->read(row), format);
  } catch (const core::InputError& error) {
    fault = error.what();
    return RowFate::unreadable;
  }
  const int64_t have = pixels.size(2);
  if (have > layout.channels) return RowFate::in_color;
  if (have < layout.channels)
    pixels = pixels.expand({layout.size, layout.size, layout.channels}).to_contiguous();
  const void* const bytes = pixels.view().data;
  const uint64_t checksum = pack_checksum(bytes, layout.image_bytes());
  file.write_at(layout.images_at + row * layout.image_bytes(), bytes, layout.image_bytes());
  file.write_at(layout.checksums_at + row * static_cast<int64_t>(sizeof(checksum)), &checksum,
                sizeof(checksum));
  return RowFate::packed;
}

// Rows of [first, last) that the file does not have.
std::vector<int64_t> PackWriter::State::unfinished(int64_t first, int64_t last) const {
  const PackFile mapped = PackFile::open(file.partial());
  std::vector<char> finished(static_cast<size_t>(last - first));
  core::parallel_for(first, last, kPackedAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      finished[static_cast<size_t>(row - first)] = mapped.is_finished(layout, row) ? 1 : 0;
  });
  std::vector<int64_t> rows;
  for (int64_t row = first; row < last; ++row) {
    if (finished[static_cast<size_t>(row - first)] == 0) rows.push_back(row);
  }
  return rows;
}

// False where an image is in color and the layout has one channel.
bool PackWriter::State::pack_rows(const std::vector<int64_t>& rows, bool skip, Progress& progress) {
  std::vector<RowFate> fates(rows.size());
  std::vector<std::string> faults(rows.size());
  core::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      fates[i] = pack_row(rows[i], faults[i]);
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string& id = dataset.ids[static_cast<size_t>(rows[i])];
    if (fates[i] == RowFate::in_color) {
      progress.in_color = id;
      return false;
    }
    if (fates[i] != RowFate::unreadable) continue;
    if (!skip) core::throw_input_error({}, faults[i]);
    progress.skipped.push_back(skipped_row(dataset, rows[i], std::move(faults[i])));
  }
  return true;
}

PackWriter::Progress PackWriter::pack(int64_t first, int64_t last, const PackJob& job) {
  MEDFUSION_CHECK(first >= 0 && first <= last && last <= state_->layout.rows,
                  "PackWriter: rows {} to {} of {}", first, last, state_->layout.rows);
  Progress progress;
  const std::vector<int64_t> rows = state_->unfinished(first, last);
  const auto count = static_cast<int64_t>(rows.size());
  progress.finished = last - first - count;
  job.begun(progress.finished, count);
  for (int64_t begin = 0; begin < count; begin += kPackedAtOnce) {
    const int64_t end = std::min(count, begin + kPackedAtOnce);
    if (!state_->pack_rows({rows.begin() + begin, rows.begin() + end}, job.skip_unreadable, progress)) break;
    job.advanced(end - begin);
  }
  return progress;
}

void PackWriter::commit() {
  const PackLayout& layout = state_->layout;
  std::vector<char> present(static_cast<size_t>(layout.rows));
  {
    const PackFile mapped = PackFile::open(state_->file.partial());
    for (int64_t row = 0; row < layout.rows; ++row)
      present[static_cast<size_t>(row)] = mapped.checksum(layout, row) != 0 ? 1 : 0;
  }
  state_->file.write_at(layout.present_at, present.data(), layout.rows);
  state_->file.write_at(layout.ids_at, layout.ids.data(), static_cast<int64_t>(layout.ids.size()));
  state_->file.commit();
}

namespace {

// The channels of the file, where it is a pack of these data.
std::optional<int64_t> channels_in(const PackFile& file, const Dataset& dataset, const ImageFormat& format) {
  for (const int64_t channels : {1, 3}) {
    const PackLayout layout(dataset, format, channels);
    if (file.holds(0, layout.header) && file.size() == layout.bytes) return channels;
  }
  return std::nullopt;
}

// The pack that is there already, where it is whole.
std::optional<PackResult> existing_pack(const Dataset& dataset, const ImageFormat& format,
                                        const PackJob& job) {
  if (!std::filesystem::exists(job.path)) return std::nullopt;
  const PackFile file = PackFile::open(job.path);
  if (!is_pack(file.metadata()))
    core::throw_input_error({job.path}, "expected a file of medfusion pack or none, got another file");
  const std::optional<int64_t> channels = channels_in(file, dataset, format);
  if (!channels) return std::nullopt;
  const PackLayout layout(dataset, format, *channels);
  std::atomic<int64_t> images{0}, damaged{0};
  core::parallel_for(0, layout.rows, kPackedAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bool packed = file.checksum(layout, row) != 0;
      images += packed ? 1 : 0;
      damaged += packed && !file.is_finished(layout, row) ? 1 : 0;
    }
  });
  if (damaged > 0 || !file.holds(layout.ids_at, layout.ids)) {
    job.note(fmt::format("{}: {} of {} rows are damaged; made anew", job.path, damaged.load(), layout.rows));
    return std::nullopt;
  }
  return PackResult{layout.rows, *channels, images, layout.rows, true, {}};
}

// The channels of what an earlier process began; 1 where there is nothing.
int64_t begun_channels(const Dataset& dataset, const ImageFormat& format, const PackJob& job) {
  const std::string partial = job.path + ".partial";
  if (!std::filesystem::exists(partial)) return 1;
  const PackFile file = PackFile::open(partial);
  for (const int64_t channels : {1, 3}) {
    if (file.holds(0, PackLayout(dataset, format, channels).header)) return channels;
  }
  if (file.size() > 0) job.note(fmt::format("{}: is of other data or another format; begun anew", partial));
  return 1;
}

// What became of the rows of all ranks.
PackWriter::Progress gathered(PackWriter::Progress own, core::Communicator* ranks) {
  if (ranks == nullptr) return own;
  for (const std::string& id : core::gather_texts(*ranks, own.in_color)) {
    if (own.in_color.empty()) own.in_color = id;
  }
  std::string rows;
  for (const SkippedRow& row : own.skipped) rows += row.id + '\0' + row.file + '\0' + row.reason + '\0';
  own.skipped.clear();
  for (const std::string& text : core::gather_texts(*ranks, rows)) {
    std::vector<std::string> words;
    for (size_t begin = 0, end = 0; (end = text.find('\0', begin)) != std::string::npos; begin = end + 1)
      words.push_back(text.substr(begin, end - begin));
    for (size_t i = 0; i + 2 < words.size(); i += 3)
      own.skipped.push_back({words[i], words[i + 1], words[i + 2]});
  }
  std::vector<int64_t> finished(static_cast<size_t>(ranks->size()));
  ranks->all_gather(&own.finished, finished.data(), sizeof(own.finished));
  own.finished = std::accumulate(finished.begin(), finished.end(), int64_t{0});
  return own;
}

// The rows of this rank; rank 0 opens the file before the others do, and gives it its name.
PackWriter::Progress pack_own_rows(const Dataset& dataset, const ImageFormat& format, const PackJob& job,
                                   int64_t channels, core::Communicator* ranks) {
  const int64_t rank = ranks == nullptr ? 0 : ranks->rank(), count = ranks == nullptr ? 1 : ranks->size();
  if (rank > 0) ranks->barrier();
  PackWriter writer(job.path, dataset, format, channels, rank == 0);
  if (rank == 0 && ranks != nullptr) ranks->barrier();
  PackWriter::Progress progress =
      gathered(writer.pack(rank * dataset.size() / count, (rank + 1) * dataset.size() / count, job), ranks);
  if (rank == 0 && progress.in_color.empty()) writer.commit();
  if (ranks != nullptr) ranks->barrier();
  return progress;
}

}  // namespace

PackResult make_pack(const Dataset& dataset, const ImageFormat& format, const PackJob& job,
                     core::Communicator* ranks) {
  MEDFUSION_CHECK(format.round_pixels, "make_pack: expected a format with round_pixels");
  if (dataset.images == nullptr)
    core::throw_input_error({}, "expected data with images (data.image_column), got none");
  const bool first = ranks == nullptr || ranks->rank() == 0;
  const std::optional<PackResult> there = first ? existing_pack(dataset, format, job) : std::nullopt;
  if (ranks == nullptr ? there.has_value() : core::any_rank(*ranks, there.has_value()))
    return there.value_or(PackResult());
  PackResult result{dataset.size(), first ? begun_channels(dataset, format, job) : 1, 0, 0, false, {}};
  if (ranks != nullptr) ranks->broadcast(&result.stored_channels, sizeof(result.stored_channels));
  while (true) {
    PackWriter::Progress progress = pack_own_rows(dataset, format, job, result.stored_channels, ranks);
    if (progress.in_color.empty()) {
      result.finished = progress.finished;
      result.skipped = std::move(progress.skipped);
      break;
    }
    job.note(fmt::format("'{}' is in color: begun anew with three channels", progress.in_color));
    result.stored_channels = 3;
  }
  for (int64_t row = 0; row < result.rows; ++row) result.images += dataset.images->present(row) ? 1 : 0;
  result.images -= static_cast<int64_t>(result.skipped.size());
  return result;
}

}  // namespace medfusion::data
