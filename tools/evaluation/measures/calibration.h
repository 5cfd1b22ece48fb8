// Calibration: from a label's logit to a probability that matches the observed rate, fitted on the validation
// part. Every method keeps the order of the samples (isotonic regression makes ties).
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/settings.h"
#include "core/tensor.h"
#include "data/statistics/intervals.h"

namespace medfusion::tools {

inline constexpr std::array kCalibrationMethods{"none", "temperature", "platt", "isotonic"};
enum class CalibrationMethod : uint8_t {
  none,         // sigmoid(z)
  temperature,  // sigmoid(z / T); Guo et al., ICML 2017, one temperature per label
  platt,        // sigmoid(slope z + intercept); Platt, 1999
  isotonic,     // pool adjacent violators (Ayer et al., 1955), linear between the points
};
constexpr core::Names names_of(CalibrationMethod) { return kCalibrationMethods; }

struct CalibrationOptions {
  CalibrationMethod method = CalibrationMethod::platt;

  void visit_fields(core::FieldVisitor& visit) {
    visit("method", method,
          "How each label's logit becomes a probability, fitted on the validation part: `temperature` (one "
          "slope), `platt` (slope and intercept), `isotonic` (a rising curve), or `none`. It does not apply "
          "to a label with fewer than five positives or negatives in the validation part. Where the output "
          "is softmax, `temperature` and `platt` are one slope for all labels, which keeps their sum, and "
          "`isotonic` is refused.");
  }
};

// The calibration of one label.
struct Calibrator {
  CalibrationMethod method = CalibrationMethod::none;
  double slope = 1.0, intercept = 0.0;        // temperature (slope = 1 / T), platt
  std::vector<double> logits, probabilities;  // isotonic: points, ascending
  int64_t positives = 0, negatives = 0;       // that it was fitted to
  std::string reason;                         // why it is none although another was asked for

  double apply(double logit) const;
  // The log odds of that probability, which tell apart what rounds to a probability of 0 or 1.
  double log_odds(double logit) const;
  nlohmann::ordered_json to_json() const;
  // Throws nlohmann's exceptions, or core::InputError naming `file`, where it is not what to_json() gives.
  static Calibrator from_json(const nlohmann::ordered_json& json, const std::string& file = "");
};

// Fitted to logits with targets 1, 0 or NaN (unknown). With fewer than kFewestPerClass of either class, or
// logits that are not finite, the result is `none` with a reason. temperature and platt fit Platt's smoothed
// targets, (P + 1) / (P + 2) and 1 / (N + 2), so that the answer is finite for separable samples; their slope
// is at least 1e-3, so that a label which validation ranks worse than chance keeps its order near the base
// rate. Isotonic values stay within [1 / (n + 2), (n + 1) / (n + 2)].
inline constexpr int64_t kFewestPerClass = 5;
Calibrator fit_calibration(std::span<const double> logits, std::span<const double> targets,
                           CalibrationMethod method);

// One temperature for labels of which exactly one is true: softmax(slope z) is fitted to the rows of `logits`
// and `targets` [rows, labels] with a true label. The true label of n rows with L labels counts (n + 1) / (n
// + L) and each other 1 / (n + L) (Laplace), so that the slope is finite where all rows are right. One entry
// per label, all with this slope; `none`, with a reason, where fewer than two labels have kFewestPerClass
// rows, or a logit is not finite.
std::vector<Calibrator> fit_softmax_temperature(const core::Tensor& logits, const core::Tensor& targets);

// Isotonic regression of `targets` (ascending x, ties pooled beforehand to their mean): block values, one per
// sample. weights: one per sample.
std::vector<double> pool_adjacent_violators(std::span<const double> targets, std::span<const double> weights);

// Logistic recalibration of probabilities on new samples (Cox, Biometrika 45, 1958): `intercept` of targets
// on logit(p) with slope 1 ("calibration in the large"; 0 is perfect) and `slope` with a free intercept (1 is
// perfect), each with an interval from the covariance that is robust to dependence within a patient
// (`cluster`, one per sample). NaN where a class is missing, where the probabilities separate the classes (no
// finite slope is likeliest then), or where the fit does not converge.
struct Recalibration {
  data::Estimate intercept, slope;
  std::string undefined;  // why neither has a value; empty where both may have one
};
Recalibration recalibrate(std::span<const double> probabilities, std::span<const double> targets,
                          std::span<const uint32_t> cluster);

}  // namespace medfusion::tools
