#include "tools/evaluation/measures/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <type_traits>

#include "core/error.h"
#include "core/threads.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/measures.h"

namespace medfusion::tools {
PatientBootstrap::PatientBootstrap(std::span<const std::string> patients, int64_t resamples, uint64_t seed,
                                   core::Communicator* ranks)
    : resamples_(resamples), seed_(seed), ranks_(ranks) {
  MEDFUSION_CHECK(!patients.empty() && resamples >= 0, "bootstrap: {} rows, {} resamples", patients.size(),
                  resamples);
  std::map<std::string_view, uint32_t> number;
  for (const std::string& patient : patients) number.emplace(patient, 0);
  for (auto& [name, index] : number) index = static_cast<uint32_t>(patients_++);
  for (const std::string& patient : patients) patient_of_row_.push_back(number.at(patient));
}

std::vector<uint32_t> PatientBootstrap::weights(int64_t resample) const {
  return data::draw_counts(patients_, seed_, static_cast<uint64_t>(resample));
}

std::vector<uint32_t> PatientBootstrap::ones() const {
  return std::vector<uint32_t>(static_cast<size_t>(patients_), 1);
}

void PatientBootstrap::fill_own(const std::function<void(int64_t)>& fill) const {
  constexpr int64_t kGrain = 4;
  core::parallel_for(std::min(resamples_, first_own()), std::min(resamples_, first_own() + own_resamples()),
                     kGrain, [&](int64_t first, int64_t last) {
                       for (int64_t resample = first; resample < last; ++resample) fill(resample);
                     });
}

ResampledMeasures::ResampledMeasures(const std::vector<RankedLabel>& labels,
                                     const PatientBootstrap& bootstrap)
    : resamples_(bootstrap.resamples()) {
  const std::vector<uint32_t> ones = bootstrap.ones();
  for (const RankedLabel& label : labels) full_.push_back(label.measures(ones));
  drawn_ = bootstrap.draw<MeasureValues>(static_cast<int64_t>(labels.size()),
                                         [&](const std::vector<uint32_t>& weights, MeasureValues* row) {
                                           for (const RankedLabel& label : labels)
                                             *row++ = label.measures(weights);
                                         });
}

std::vector<int64_t> ResampledMeasures::averaged(Measure measure) const {
  std::vector<int64_t> result;
  for (int64_t label = 0; label < labels(); ++label) {
    if (!std::isnan(full(label)[measure])) result.push_back(label);
  }
  return result;
}

double ResampledMeasures::macro(Measure measure) const {
  data::Mean mean;
  for (int64_t label = 0; label < labels(); ++label) mean.add(full(label)[measure]);
  return mean.value();
}

std::vector<double> ResampledMeasures::draws(int64_t label, Measure measure) const {
  std::vector<double> result;
  for (int64_t resample = 0; resample < resamples_; ++resample) {
    result.push_back(drawn_[static_cast<size_t>(resample * labels() + label)][measure]);
  }
  return result;
}

std::vector<double> ResampledMeasures::macro_draws(Measure measure) const {
  const auto members = averaged(measure);
  std::vector<double> result(static_cast<size_t>(resamples_), kUndefined);
  for (int64_t resample = 0; !members.empty() && resample < resamples_; ++resample) {
    double sum = 0.0;
    for (const int64_t label : members) {
      sum += drawn_[static_cast<size_t>(resample * labels() + label)][measure];
    }
    result[static_cast<size_t>(resample)] = sum / static_cast<double>(members.size());
  }
  return result;
}

Interval percentile_interval(std::vector<double> draws, double confidence) {
  const size_t all = draws.size();
  std::erase_if(draws, [](double value) { return std::isnan(value); });
  const auto undefined = static_cast<int64_t>(all - draws.size());
  // (n + 1) tail is a whole number for the usual n, but for rounding.
  const double place = static_cast<double>(draws.size() + 1) * (1.0 - confidence) / 2.0;
  const auto m = static_cast<size_t>(std::ceil(place - 1e-9)) - 1;
  if (m == 0 || 10 * draws.size() < all) return {kUndefined, kUndefined, undefined};
  std::sort(draws.begin(), draws.end());
  return {draws[m - 1], draws[draws.size() - m], undefined};
}

Interval interval_around(double value, const std::vector<double>& draws) {
  Interval interval = percentile_interval(draws);
  if (value < interval.low || value > interval.high) interval.low = interval.high = kUndefined;
  return interval;
}

double bootstrap_p_value(std::span<const double> differences) {
  int64_t defined = 0, at_most_zero = 0, at_least_zero = 0;
  for (const double difference : differences) {
    if (std::isnan(difference)) continue;
    ++defined;
    at_most_zero += difference <= 0.0 ? 1 : 0;
    at_least_zero += difference >= 0.0 ? 1 : 0;
  }
  if (defined == 0) return kUndefined;
  const auto fewer = static_cast<double>(std::min(at_most_zero, at_least_zero) + 1);
  return std::min(1.0, 2.0 * fewer / static_cast<double>(defined + 1));
}

bool is_least_p_value(double p_value, int64_t resamples) {
  return resamples > 0 &&
         p_value < 2.5 / static_cast<double>(resamples + 1);  // the least but one is 4 / (n + 1)
}

}  // namespace medfusion::tools
