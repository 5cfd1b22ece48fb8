#include "data/table/resampling.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <unordered_set>

#include "core/error.h"
#include "core/random.h"

namespace medfusion::data {
namespace {

enum ResamplingStream : uint64_t { kBaseStream = 111, kSegmentStream = 112 };

struct Classes {
  std::vector<int64_t> rare, other;
};

// The two classes of `rows`, the one with fewer rows (the positive one of equals) first.
Classes classes_of(const core::Tensor& targets, const std::vector<int64_t>& rows, int64_t label) {
  const int64_t labels = targets.size(1);
  MEDFUSION_CHECK(label >= -1 && label < labels, "resampling: label {} of {}", label, labels);
  std::vector<int64_t> positives, negatives;
  for (const int64_t row : rows) {
    const float* target = targets.data<float>() + row * labels;
    bool positive = false, known = label < 0;
    for (int64_t l = 0; l < labels; ++l) {
      if (label >= 0 && l != label) continue;
      positive |= target[l] == 1.0F;
      known |= !std::isnan(target[l]);
    }
    if (known) (positive ? positives : negatives).push_back(row);
  }
  if (positives.size() <= negatives.size()) return {std::move(positives), std::move(negatives)};
  return {std::move(negatives), std::move(positives)};
}

double squared_distance(const core::Tensor& features, int64_t a, int64_t b) {
  const int64_t width = features.size(1);
  const float* x = features.data<float>() + a * width;
  const float* y = features.data<float>() + b * width;
  double sum = 0.0;
  for (int64_t i = 0; i < width; ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += difference * difference;
  }
  return sum;
}

// The `count` rows of `among` nearest to `row`, without itself; of equally near ones the first.
std::vector<int64_t> nearest(const core::Tensor& features, int64_t row, const std::vector<int64_t>& among,
                             int64_t count) {
  std::vector<std::pair<double, int64_t>> distances;
  for (const int64_t candidate : among) {
    if (candidate != row) distances.emplace_back(squared_distance(features, row, candidate), candidate);
  }
  const auto kept = std::min(distances.size(), static_cast<size_t>(count));
  std::partial_sort(distances.begin(), distances.begin() + static_cast<std::ptrdiff_t>(kept),
                    distances.end());
  std::vector<int64_t> result;
  for (size_t i = 0; i < kept; ++i) result.push_back(distances[i].second);
  return result;
}

// How many segments start at each rare row: `total` over them by weight, rounded so that the sum is exact.
std::vector<int64_t> shares(const std::vector<double>& weights, int64_t total) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> counts(weights.size());
  std::vector<std::pair<double, size_t>> rests;
  int64_t given = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double exact = static_cast<double>(total) * weights[i] / sum;
    counts[i] = static_cast<int64_t>(exact);
    given += counts[i];
    rests.emplace_back(static_cast<double>(counts[i]) - exact, i);  // the largest rest first
  }
  std::sort(rests.begin(), rests.end());
  for (size_t i = 0; given < total; ++i, ++given) ++counts[rests[i % rests.size()].second];
  return counts;
}

// ADASYN's weight of a rare row: the share of the other class among its nearest neighbours.
std::vector<double> difficulty(const core::Tensor& features, const Classes& classes, int64_t neighbours) {
  const std::unordered_set<int64_t> other(classes.other.begin(), classes.other.end());
  std::vector<int64_t> all = classes.rare;
  all.insert(all.end(), classes.other.begin(), classes.other.end());
  std::sort(all.begin(), all.end());
  std::vector<double> weights;
  for (const int64_t row : classes.rare) {
    const auto near = nearest(features, row, all, neighbours);
    weights.push_back(static_cast<double>(
        std::count_if(near.begin(), near.end(), [&](int64_t n) { return other.contains(n); })));
  }
  const bool none = std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0.0; });
  if (none) weights.assign(weights.size(), 1.0);
  return weights;
}

// The bases of the new rows, grouped by base for adasyn and in rounds over the rare rows otherwise.
std::vector<int64_t> bases(const core::Tensor& features, const Classes& classes, int64_t total,
                           const ResampleOptions& options) {
  std::vector<int64_t> result;
  if (options.method == ResampleMethod::adasyn) {
    const auto counts = shares(difficulty(features, classes, options.neighbours), total);
    for (size_t i = 0; i < counts.size(); ++i) {
      result.insert(result.end(), static_cast<size_t>(counts[i]), classes.rare[i]);
    }
    return result;
  }
  std::vector<int64_t> order = classes.rare;
  core::Generator(options.seed, kBaseStream).shuffle(order);
  for (int64_t i = 0; i < total; ++i) result.push_back(order[static_cast<size_t>(i) % order.size()]);
  return result;
}

std::string new_id(const std::string& base, std::unordered_set<std::string>& taken) {
  for (int64_t number = 1;; ++number) {
    std::string id = fmt::format("{}~{}", base, number);
    if (taken.insert(id).second) return id;
  }
}

void append_cells(Column& column, const std::vector<SyntheticRow>& added) {
  for (const SyntheticRow& row : added) {
    const auto near = static_cast<size_t>(row.weight < 0.5 ? row.base : row.neighbour);
    if (!column.numeric) {
      column.categories.push_back(column.categories[near]);
      continue;
    }
    const double from = column.numbers[static_cast<size_t>(row.base)];
    const double to = column.numbers[static_cast<size_t>(row.neighbour)];
    const bool known = !std::isnan(from) && !std::isnan(to);
    column.numbers.push_back(known ? from + row.weight * (to - from) : column.numbers[near]);
  }
}

}  // namespace

void ResampleOptions::check_rules(const core::Require& require) const {
  require(!before_split || method != ResampleMethod::none, {"resample.before_split", "resample.method"},
          "expected a resample.method with it, got \"none\"");
}

std::vector<SyntheticRow> plan_resampling(const core::Tensor& features, const core::Tensor& targets,
                                          const std::vector<int64_t>& rows, const ResampleOptions& options) {
  if (options.method == ResampleMethod::none) return {};
  const bool segments = options.method != ResampleMethod::random;
  MEDFUSION_CHECK(options.ratio > 0.0 && options.neighbours > 0, "resampling: ratio {}, neighbours {}",
                  options.ratio, options.neighbours);
  const Classes classes = classes_of(targets, rows, options.label_index);
  const size_t least = segments ? 2 : 1;
  if (classes.rare.size() < least) {
    core::throw_input_error({},
                            "resample.method: expected at least {} rows of the rarer class in "
                            "the training part, got {}",
                            least, classes.rare.size());
  }
  const auto wanted = std::llround(options.ratio * static_cast<double>(classes.other.size()));
  const int64_t total = wanted - static_cast<int64_t>(classes.rare.size());
  if (total <= 0) return {};
  std::vector<SyntheticRow> result;
  core::Generator generator(options.seed, kSegmentStream);
  std::map<int64_t, std::vector<int64_t>> neighbours;  // of each base
  for (const int64_t row : classes.rare) {
    if (segments) neighbours[row] = nearest(features, row, classes.rare, options.neighbours);
  }
  for (const int64_t base : bases(features, classes, total, options)) {
    if (!segments) {
      result.push_back({base, base, 0.0});
      continue;
    }
    const std::vector<int64_t>& own = neighbours.at(base);
    const int64_t neighbour = own[static_cast<size_t>(generator.below(static_cast<int64_t>(own.size())))];
    result.push_back({base, neighbour, static_cast<double>(generator.uniform())});
  }
  return result;
}

void append_rows(Dataset& dataset, const std::vector<SyntheticRow>& added) {
  MEDFUSION_CHECK(dataset.images == nullptr, "resampling: rows with images cannot be made");
  const int64_t before = dataset.size();
  const int64_t labels = dataset.targets.size(1);
  std::unordered_set<std::string> taken(dataset.ids.begin(), dataset.ids.end());
  const core::Tensor targets = core::Tensor::empty({before + static_cast<int64_t>(added.size()), labels});
  targets.slice(0, 0, before).copy_from(dataset.targets);
  for (size_t i = 0; i < added.size(); ++i) {
    const SyntheticRow& row = added[i];
    MEDFUSION_CHECK(row.base >= 0 && row.base < before && row.neighbour >= 0 && row.neighbour < before,
                    "resampling: rows {} and {} of {}", row.base, row.neighbour, before);
    const auto base = static_cast<size_t>(row.base);
    const int64_t near = row.weight < 0.5 ? row.base : row.neighbour;
    const int64_t at = before + static_cast<int64_t>(i);
    targets.slice(0, at, at + 1).copy_from(dataset.targets.slice(0, near, near + 1));
    dataset.ids.push_back(new_id(dataset.ids[base], taken));
    dataset.patients.push_back(dataset.patients[base]);
    if (!dataset.patient_spellings.empty())
      dataset.patient_spellings.push_back(dataset.patient_spellings[base]);
    if (!dataset.repeats.empty()) dataset.repeats.push_back(at);
    if (!dataset.groups.empty()) dataset.groups.push_back(dataset.groups[base]);
    if (!dataset.texts.empty()) dataset.texts.push_back(dataset.texts[static_cast<size_t>(near)]);
    if (!dataset.parts.empty()) dataset.parts.push_back(dataset.parts[base]);
  }
  for (Column& column : dataset.columns) append_cells(column, added);
  dataset.targets = targets;
}

}  // namespace medfusion::data
