// Bootstrap over patients: resamples draw whole patients with replacement, since the images of one patient
// are not independent (cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their Application",
// 1997, section 3.8). Intervals are percentile intervals (Efron and Tibshirani, 1993, chapter 13).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/communicator.h"
#include "data/statistics/intervals.h"
#include "tools/evaluation/measures/measures.h"

namespace medfusion::tools {

// Patients and how often each is in each resample. Resample r depends on (seed, r) and the set of patients,
// not on the order of the rows or on threads.
class PatientBootstrap {
 public:
  // patients: the patient of each row; at least one row. resamples >= 0. `ranks`, where they are not null,
  // divide the resamples among them; all have the same patients.
  PatientBootstrap(std::span<const std::string> patients, int64_t resamples, uint64_t seed,
                   core::Communicator* ranks = nullptr);

  int64_t patients() const { return patients_; }
  int64_t resamples() const { return resamples_; }
  // The patient of each row as an index into the weights; patients count in the byte order of their names.
  const std::vector<uint32_t>& patient_of_row() const { return patient_of_row_; }
  // How often each patient was drawn: as many draws as there are patients.
  std::vector<uint32_t> weights(int64_t resample) const;
  // Every patient once.
  std::vector<uint32_t> ones() const;
  // [resamples, width]: fill(weights, row) writes the row of a resample. Of several ranks each fills some,
  // and all get all.
  template <class T>
  std::vector<T> draw(int64_t width,
                      const std::function<void(const std::vector<uint32_t>&, T*)>& fill) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const int64_t own = own_resamples(), row_bytes = width * static_cast<int64_t>(sizeof(T));
    std::vector<T> all(static_cast<size_t>(own * rank_count() * width));
    fill_own([&](int64_t resample) { fill(weights(resample), all.data() + resample * width); });
    if (ranks_ != nullptr) ranks_->all_gather(all.data() + first_own() * width, all.data(), own * row_bytes);
    all.resize(static_cast<size_t>(resamples_ * width));
    return all;
  }

 private:
  int64_t rank_count() const { return ranks_ == nullptr ? 1 : ranks_->size(); }
  int64_t own_resamples() const { return (resamples_ + rank_count() - 1) / rank_count(); }  // the last: fewer
  int64_t first_own() const { return ranks_ == nullptr ? 0 : ranks_->rank() * own_resamples(); }
  void fill_own(const std::function<void(int64_t)>& fill) const;

  std::vector<uint32_t> patient_of_row_;
  int64_t patients_ = 0;
  int64_t resamples_ = 0;
  uint64_t seed_ = 0;
  core::Communicator* ranks_ = nullptr;
};

// The measures of several labels on all rows and on every resample. The macro average is over the labels for
// which a measure exists on all rows; on a resample it is undefined where one of these is.
class ResampledMeasures {
 public:
  ResampledMeasures(const std::vector<RankedLabel>& labels, const PatientBootstrap& bootstrap);

  int64_t labels() const { return static_cast<int64_t>(full_.size()); }
  int64_t resamples() const { return resamples_; }
  const MeasureValues& full(int64_t label) const { return full_[static_cast<size_t>(label)]; }
  double macro(Measure measure) const;                   // on all rows; NaN where no label has it
  std::vector<int64_t> averaged(Measure measure) const;  // the labels in it

  // One value per resample, NaN where undefined.
  std::vector<double> draws(int64_t label, Measure measure) const;
  std::vector<double> macro_draws(Measure measure) const;

 private:
  std::vector<MeasureValues> full_;
  std::vector<MeasureValues> drawn_;  // [resamples, labels]
  int64_t resamples_ = 0;
};

// A percentile interval of the n draws that are numbers: from the m-th smallest to the m-th largest, with the
// largest m < (n + 1) (1 - confidence) / 2. So it leaves out 0 exactly where bootstrap_p_value is below
// 1 - confidence. NaN where fewer than a tenth of the draws are numbers, or too few for m = 1 (40 for 95%).
struct Interval {
  double low, high;
  int64_t undefined = 0;  // draws that are not numbers
};
Interval percentile_interval(std::vector<double> draws, double confidence = data::kConfidence);

// The percentile interval; NaN where it does not hold `value`, as for errors that resampling enlarges: the
// draws are biased then, and a bias correction would leave the least of them.
Interval interval_around(double value, const std::vector<double>& draws);

// Two-sided p-value of a difference from its draws: twice the smaller share on one side of 0, the observed
// sample counting as one draw, at most 1. NaN where no draw is a number.
double bootstrap_p_value(std::span<const double> differences);
// Whether a p-value is the least that so many resamples give: more of them could lower it.
bool is_least_p_value(double p_value, int64_t resamples);

}  // namespace medfusion::tools
