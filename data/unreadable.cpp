#include "data/unreadable.h"

#include <algorithm>

#include "core/error.h"
#include "core/threads.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

template <class T>
void keep_values(std::vector<T>& values, const std::vector<int64_t>& rows) {
  if (values.empty()) return;
  std::vector<T> kept;
  kept.reserve(rows.size());
  for (const int64_t row : rows) kept.push_back(std::move(values[static_cast<size_t>(row)]));
  values = std::move(kept);
}

// Some rows of another source.
class KeptImages : public ImageSource {
 public:
  KeptImages(std::shared_ptr<ImageSource> source, std::vector<int64_t> rows)
      : source_(std::move(source)), rows_(std::move(rows)) {}
  core::Tensor read(int64_t row) const override { return source_->read(of(row)); }
  bool present(int64_t row) const override { return source_->present(of(row)); }
  std::string file(int64_t row) const override { return source_->file(of(row)); }
  int64_t encoded_size(int64_t row) const override { return source_->encoded_size(of(row)); }
  uint64_t digest(int64_t row) const override { return source_->digest(of(row)); }
  bool is_packed(int64_t row) const override { return source_->is_packed(of(row)); }
  core::Tensor packed(int64_t row) const override { return source_->packed(of(row)); }

 private:
  int64_t of(int64_t row) const { return rows_.at(static_cast<size_t>(row)); }

  std::shared_ptr<ImageSource> source_;
  std::vector<int64_t> rows_;
};

// Why the image of each row cannot be read; empty where it can.
std::vector<std::string> faults_of(const Dataset& dataset) {
  std::vector<std::string> faults(dataset.ids.size());
  core::parallel_for(0, dataset.size(), 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      if (!dataset.images->present(row) || dataset.images->is_packed(row)) continue;
      try {
        dataset.images->read(row);
      } catch (const core::InputError& error) {
        faults[static_cast<size_t>(row)] = error.what();
      }
    }
  });
  return faults;
}

}  // namespace

void keep_rows(Dataset& dataset, const std::vector<int64_t>& rows) {
  MEDFUSION_CHECK(dataset.patient_spellings.empty() && dataset.groups.empty() && dataset.repeats.empty(),
                  "keep_rows: expected a dataset as a reader gives it");
  if (dataset.targets.defined()) {
    const int64_t labels = dataset.targets.size(1);
    const core::Tensor targets = core::Tensor::empty({static_cast<int64_t>(rows.size()), labels});
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(dataset.targets.data<float>() + rows[i] * labels, labels,
                  targets.data<float>() + static_cast<int64_t>(i) * labels);
    }
    dataset.targets = targets;
  }
  for (Column& column : dataset.columns) {
    keep_values(column.numbers, rows);
    keep_values(column.categories, rows);
  }
  if (dataset.images != nullptr) dataset.images = std::make_shared<KeptImages>(dataset.images, rows);
  keep_values(dataset.ids, rows);
  keep_values(dataset.patients, rows);
  keep_values(dataset.image_groups, rows);
  keep_values(dataset.texts, rows);
  keep_values(dataset.parts, rows);
}

SkippedRow skipped_row(const Dataset& dataset, int64_t row, std::string fault) {
  std::string file = dataset.images->file(row);
  if (fault.starts_with(file + ": ")) fault.erase(0, file.size() + 2);
  return {dataset.ids[static_cast<size_t>(row)], std::move(file), std::move(fault)};
}

void skip_unreadable(Dataset& dataset, double most) {
  if (dataset.images == nullptr) return;
  const std::vector<std::string> faults = faults_of(dataset);
  std::vector<int64_t> kept;
  std::string first;
  Hasher hasher;
  hasher.add(static_cast<int64_t>(dataset.hash));
  for (int64_t row = 0; row < dataset.size(); ++row) {
    std::string fault = faults[static_cast<size_t>(row)];
    if (fault.empty()) {
      kept.push_back(row);
      continue;
    }
    if (first.empty()) first = fault;
    dataset.skipped.push_back(skipped_row(dataset, row, std::move(fault)));
    hasher.add(dataset.skipped.back().id);
  }
  const size_t count = dataset.skipped.size();
  if (count == 0) return;
  const auto all = static_cast<double>(dataset.size());
  if (kept.empty() || static_cast<double>(count) > most * all) {
    core::throw_input_error({}, "{}; {} of {} images cannot be read, data.max_skipped allows {:.6g} of them",
                            first, count, dataset.size(), most);
  }
  dataset.notes.push_back(
      fmt::format("{} of {} rows are skipped, for their images cannot be read "
                  "(data.on_error), such as {}",
                  count, dataset.size(), first));
  dataset.hash = hasher.digest();
  keep_rows(dataset, kept);
}

}  // namespace medfusion::data
