#include "data/duplicates.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "core/threads.h"

namespace medfusion::data {

int64_t ImageSource::encoded_size(int64_t /*row*/) const { return 0; }

uint64_t ImageSource::digest(int64_t row) const {
  const core::Tensor pixels = read(row).to_contiguous();
  return XXH64(pixels.view().data, static_cast<size_t>(pixels.bytes()), 0);
}

namespace {

bool has_image(const Dataset& dataset, int64_t row) {
  return dataset.images != nullptr && dataset.images->present(row);
}

// All columns and the text of a row as bytes; every missing number is written alike.
std::string features_of(const Dataset& dataset, size_t row) {
  std::string key;
  for (const Column& column : dataset.columns) {
    if (column.numeric) {
      const double value = column.numbers[row];
      key += value != value ? std::string("?") : fmt::format("{}", value == 0.0 ? 0.0 : value);
    } else {
      key += column.categories[row];
    }
    key += '\0';
  }
  if (!dataset.texts.empty()) key += dataset.texts[row];
  return key;
}

void match_tables(const Dataset& dataset, DuplicateRule rule, std::vector<int64_t>& first) {
  if (dataset.columns.empty() && dataset.texts.empty()) return;
  std::unordered_map<std::string, int64_t> seen;
  std::vector<std::pair<int64_t, int64_t>> repeats;
  int64_t rows = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (has_image(dataset, row)) continue;
    ++rows;
    const auto [found, added] = seen.emplace(features_of(dataset, static_cast<size_t>(row)), row);
    if (!added) repeats.emplace_back(row, found->second);
  }
  constexpr int64_t kCoincidence = 10;  // one row in ten
  const bool coarse = static_cast<int64_t>(repeats.size()) * kCoincidence > rows;
  if (rule == DuplicateRule::automatic && coarse) return;
  for (const auto& [row, earlier] : repeats) first[static_cast<size_t>(row)] = earlier;
}

// The digest of what a picture shows, of pixels [height, width, channels].
template <class Value>
uint64_t picture_digest(const core::Tensor& pixels, Value opaque) {
  const core::Tensor dense = pixels.to_contiguous();
  const auto* const data = dense.data<Value>();
  const auto channels = static_cast<size_t>(dense.size(2)), colors = channels >= 3 ? size_t{3} : size_t{1};
  const auto size = static_cast<size_t>(dense.numel());
  bool gray = true, alpha = false;
  for (size_t at = 0; at < size; at += channels) {
    gray = gray && (colors == 1 || (data[at] == data[at + 1] && data[at] == data[at + 2]));
    alpha = alpha || (channels > colors && data[at + colors] != opaque);
  }
  std::vector<Value> shown;
  shown.reserve(size);
  for (size_t at = 0; at < size; at += channels) {
    shown.insert(shown.end(), data + at, data + at + (gray ? 1 : colors));
    if (alpha) shown.push_back(data[at + colors]);
  }
  const std::array<int64_t, 5> kind{dense.size(0), dense.size(1), gray ? 1 : 3, alpha ? 1 : 0, sizeof(Value)};
  return XXH64(shown.data(), shown.size() * sizeof(Value), XXH64(kind.data(), sizeof(kind), 0));
}

uint64_t picture_digest(const ImageSource& images, int64_t row) {
  constexpr int32_t kOpaque = 65535;
  try {
    const core::Tensor pixels = images.read(row);
    return pixels.dtype() == core::DType::u8 ? picture_digest<uint8_t>(pixels, 255)
                                             : picture_digest<int32_t>(pixels, kOpaque);
  } catch (const core::InputError&) {
    return images.digest(row);  // whoever needs the pixels reports it
  }
}

void match_pictures(const ImageSource& images, const std::vector<int64_t>& rows,
                    std::vector<int64_t>& first) {
  std::vector<uint64_t> digests(rows.size());
  core::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      digests[static_cast<size_t>(i)] = picture_digest(images, rows[static_cast<size_t>(i)]);
  });
  std::unordered_map<uint64_t, int64_t> seen;
  for (size_t i = 0; i < rows.size(); ++i)
    first[static_cast<size_t>(rows[i])] = seen.emplace(digests[i], rows[i]).first->second;
}

void match_files(const ImageSource& images, const std::unordered_map<int64_t, std::vector<int64_t>>& by_size,
                 std::vector<int64_t>& first) {
  for (const auto& [size, rows] : by_size) {
    if (rows.size() < 2) continue;
    std::unordered_map<uint64_t, int64_t> seen;
    for (const int64_t row : rows)
      first[static_cast<size_t>(row)] = seen.emplace(images.digest(row), row).first->second;
  }
}

// A set of which most images are one picture was probably copied wrongly.
void note_one_picture(const Dataset& dataset, const std::vector<int64_t>& rows,
                      const std::vector<int64_t>& first, std::vector<std::string>& notes) {
  std::unordered_map<int64_t, size_t> copies;
  for (const int64_t row : rows) ++copies[first[static_cast<size_t>(row)]];
  for (const auto& [original, count] : copies) {
    if (count * 2 <= rows.size() || count < 2) continue;
    const auto again = std::find_if(rows.begin(), rows.end(), [&, same = original](int64_t row) {
      return row != same && first[static_cast<size_t>(row)] == same;
    });
    notes.push_back(fmt::format("{} of {} images are the same picture, such as '{}' and '{}'", count,
                                rows.size(), dataset.ids[static_cast<size_t>(original)],
                                dataset.ids[static_cast<size_t>(*again)]));
  }
}

void match_images(const Dataset& dataset, DuplicateRule rule, std::vector<int64_t>& first,
                  std::vector<std::string>& notes) {
  constexpr int64_t kDecoded = int64_t{256} << 20;  // bytes of files that are decoded within seconds
  std::unordered_map<int64_t, std::vector<int64_t>> by_size;
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (!has_image(dataset, row)) continue;
    const int64_t size = dataset.images->encoded_size(row);
    by_size[size].push_back(row);
    rows.push_back(row);
    total += size;
  }
  if (total <= kDecoded || rule == DuplicateRule::always) {
    if (!rows.empty()) match_pictures(*dataset.images, rows, first);
  } else {
    match_files(*dataset.images, by_size, first);
    notes.push_back(
        fmt::format("equal images are found by the bytes of their files, of which there are {} MiB; "
                    "guard.duplicates = \"always\" compares pixels",
                    total >> 20));
  }
  note_one_picture(dataset, rows, first, notes);
}

}  // namespace

std::vector<int64_t> first_equal_rows(const Dataset& dataset, DuplicateRule rule,
                                      std::vector<std::string>& notes) {
  std::vector<int64_t> first(static_cast<size_t>(dataset.size()));
  std::iota(first.begin(), first.end(), int64_t{0});
  if (rule == DuplicateRule::never) return first;
  match_tables(dataset, rule, first);
  match_images(dataset, rule, first, notes);
  return first;
}

void group_duplicates(Dataset& dataset, DuplicateRule rule) {
  const std::vector<int64_t> first = first_equal_rows(dataset, rule, dataset.notes);
  // Union-find over rows: those of a patient, and those that are equal.
  std::vector<int64_t> parent(first.size());
  std::iota(parent.begin(), parent.end(), int64_t{0});
  const auto root = [&](int64_t row) {
    while (parent[static_cast<size_t>(row)] != row) {
      int64_t& up = parent[static_cast<size_t>(row)];
      up = parent[static_cast<size_t>(up)];
      row = up;
    }
    return row;
  };
  const auto join = [&](int64_t a, int64_t b) {
    const int64_t low = std::min(root(a), root(b));
    const int64_t high = std::max(root(a), root(b));
    parent[static_cast<size_t>(high)] = low;
  };
  std::unordered_map<std::string_view, int64_t> row_of_patient;
  int64_t repeats = 0;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const auto index = static_cast<size_t>(row);
    join(row, row_of_patient.emplace(dataset.patients[index], row).first->second);
    if (first[index] == row) continue;
    ++repeats;
    join(row, first[index]);
  }
  if (repeats == 0) return;
  dataset.repeats = first;
  dataset.groups.clear();
  for (int64_t row = 0; row < dataset.size(); ++row) {
    dataset.groups.push_back(dataset.patients[static_cast<size_t>(root(row))]);
  }
  dataset.notes.push_back(
      fmt::format("{} earlier ones: drawn into the same part",
                  repeats == 1 ? "1 row repeats" : fmt::format("{} rows repeat", repeats)));
}

}  // namespace medfusion::data
