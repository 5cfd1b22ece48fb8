#include "tools/evaluation/measures/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "data/statistics/logistic.h"
#include "tools/evaluation/measures/measures.h"

namespace medfusion::tools {
namespace {

using data::fit_logistic;
using data::LogisticFit;
using data::sigmoid;

constexpr double kLeastSlope = 1e-3;

struct Known {
  std::vector<double> logits, targets;
};

Eigen::MatrixXd as_column(const std::vector<double>& values) {
  return Eigen::Map<const Eigen::VectorXd>(values.data(), static_cast<Eigen::Index>(values.size()));
}

// The intercept that goes with a slope.
double intercept_for(double slope, const Known& known, const std::vector<double>& targets) {
  std::vector<double> offset;
  for (const double logit : known.logits) offset.push_back(slope * logit);
  const auto rows = static_cast<Eigen::Index>(offset.size());
  return fit_logistic(Eigen::MatrixXd(rows, 0), targets, {.offset = offset}).coefficients[0];
}

void fit_platt(const Known& known, const std::vector<double>& smoothed, Calibrator& result) {
  const LogisticFit fit = fit_logistic(as_column(known.logits), smoothed);
  result.intercept = fit.coefficients[0];
  result.slope = fit.coefficients[1];
  if (result.slope >= kLeastSlope) return;
  result.slope = kLeastSlope;
  result.intercept = intercept_for(kLeastSlope, known, smoothed);
}

// The derivative of the loss by the slope rises with the slope: bisection on its logarithm.
double slope_without_derivative(const std::function<double(double)>& derivative) {
  double low = std::log(kLeastSlope), high = std::log(1e3);
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2.0;
    (derivative(std::exp(middle)) < 0.0 ? low : high) = middle;
  }
  return std::exp((low + high) / 2.0);
}

void fit_temperature(const Known& known, const std::vector<double>& smoothed, Calibrator& result) {
  result.slope = slope_without_derivative([&](double slope) {
    double sum = 0.0;
    for (size_t i = 0; i < smoothed.size(); ++i) {
      sum += (sigmoid(slope * known.logits[i]) - smoothed[i]) * known.logits[i];
    }
    return sum;
  });
}

// Rows with a true label.
struct KnownRows {
  std::vector<std::vector<double>> logits;
  std::vector<size_t> labels;
};

KnownRows known_rows(const core::Tensor& logits, const core::Tensor& targets) {
  const auto count = static_cast<size_t>(logits.size(1));
  KnownRows rows;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    std::vector<double> z(count);
    std::optional<size_t> label;
    for (size_t l = 0; l < count; ++l) {
      const auto at = row * logits.size(1) + static_cast<int64_t>(l);
      z[l] = logits.at(at);
      if (targets.at(at) == 1.0) label = l;
    }
    if (!label) continue;
    rows.logits.push_back(std::move(z));
    rows.labels.push_back(*label);
  }
  return rows;
}

// Of -sum[c] y[c] log softmax(slope z)[c] by the slope: sum[c] (softmax(slope z)[c] - y[c]) z[c].
double softmax_derivative(const std::vector<double>& z, size_t label, double slope, double high, double low) {
  const double largest = *std::max_element(z.begin(), z.end());
  double sum = 0.0, weighted = 0.0, wanted = 0.0;
  for (size_t l = 0; l < z.size(); ++l) {
    const double e = std::exp(slope * (z[l] - largest));
    sum += e;
    weighted += e * z[l];
    wanted += (l == label ? high : low) * z[l];
  }
  return weighted / sum - wanted;
}

void fit_isotonic(const Known& known, Calibrator& result) {
  const size_t count = known.logits.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return known.logits[a] < known.logits[b]; });
  std::vector<double> x, means, weights;
  for (const size_t i : order) {
    if (x.empty() || x.back() != known.logits[i]) {
      x.push_back(known.logits[i]);
      means.push_back(0.0);
      weights.push_back(0.0);
    }
    weights.back() += 1.0;
    means.back() += (known.targets[i] - means.back()) / weights.back();
  }
  const std::vector<double> values = pool_adjacent_violators(means, weights);
  const double edge = 1.0 / static_cast<double>(count + 2);
  for (size_t i = 0; i < x.size(); ++i) {
    // The inside of a block adds nothing to its ends.
    if (i > 0 && i + 1 < x.size() && values[i - 1] == values[i] && values[i + 1] == values[i]) continue;
    result.logits.push_back(x[i]);
    result.probabilities.push_back(std::clamp(values[i], edge, 1.0 - edge));
  }
}

double interpolate(const std::vector<double>& x, const std::vector<double>& y, double at) {
  const auto above = std::upper_bound(x.begin(), x.end(), at);
  if (above == x.begin()) return y.front();
  if (above == x.end()) return y.back();
  const auto i = static_cast<size_t>(above - x.begin());
  const double share = (at - x[i - 1]) / (x[i] - x[i - 1]);
  return y[i - 1] + share * (y[i] - y[i - 1]);
}

}  // namespace

double Calibrator::apply(double logit) const {
  if (std::isnan(logit)) return logit;
  if (method == CalibrationMethod::isotonic) return interpolate(logits, probabilities, logit);
  return sigmoid(log_odds(logit));
}

double Calibrator::log_odds(double logit) const {
  if (method == CalibrationMethod::isotonic) return data::logit(apply(logit));
  return slope * logit + intercept;
}

nlohmann::ordered_json Calibrator::to_json() const {
  nlohmann::ordered_json json{{"method", core::text_of(method)}};
  if (method == CalibrationMethod::temperature) json["temperature"] = 1.0 / slope;
  if (method == CalibrationMethod::temperature || method == CalibrationMethod::platt) {
    json["slope"] = slope;
    json["intercept"] = intercept;
  }
  if (method == CalibrationMethod::isotonic) {
    json["logits"] = logits;
    json["probabilities"] = probabilities;
  }
  json["positives"] = positives;
  json["negatives"] = negatives;
  if (!reason.empty()) json["reason"] = reason;
  return json;
}

Calibrator Calibrator::from_json(const nlohmann::ordered_json& json, const std::string& file) {
  Calibrator result;
  const auto name = json.at("method").get<std::string>();
  const auto found = std::find(kCalibrationMethods.begin(), kCalibrationMethods.end(), name);
  if (found == kCalibrationMethods.end())
    core::throw_input_error({file}, "calibration: no method '{}'", name);
  result.method = static_cast<CalibrationMethod>(found - kCalibrationMethods.begin());
  if (json.contains("slope")) {
    json.at("slope").get_to(result.slope);
    json.at("intercept").get_to(result.intercept);
  }
  if (result.method == CalibrationMethod::isotonic) {
    json.at("logits").get_to(result.logits);
    json.at("probabilities").get_to(result.probabilities);
    if (result.logits.empty() || result.logits.size() != result.probabilities.size() ||
        !std::is_sorted(result.logits.begin(), result.logits.end()))
      core::throw_input_error({file},
                              "calibration: expected isotonic points, as many logits in order as "
                              "probabilities");
  }
  result.positives = json.at("positives").get_ref<const int64_t&>();  // no fraction
  result.negatives = json.at("negatives").get_ref<const int64_t&>();
  result.reason = json.value("reason", "");
  return result;
}

Calibrator fit_calibration(std::span<const double> logits, std::span<const double> targets,
                           CalibrationMethod method) {
  MEDFUSION_CHECK(logits.size() == targets.size(), "calibration: {} logits, {} targets", logits.size(),
                  targets.size());
  Calibrator result;
  Known known;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(targets[i])) continue;
    (targets[i] == 1.0 ? result.positives : result.negatives) += 1;
    known.logits.push_back(logits[i]);
    known.targets.push_back(targets[i]);
  }
  if (method == CalibrationMethod::none) return result;
  if (std::min(result.positives, result.negatives) < kFewestPerClass) {
    result.reason =
        fmt::format("{} positives and {} negatives in the validation part, expected at least {} of each",
                    result.positives, result.negatives, kFewestPerClass);
    return result;
  }
  if (!std::all_of(known.logits.begin(), known.logits.end(), [](double z) { return std::isfinite(z); })) {
    result.reason = "a logit of the validation part is not a finite number";
    return result;
  }
  result.method = method;
  const double high = static_cast<double>(result.positives + 1) / static_cast<double>(result.positives + 2);
  const double low = 1.0 / static_cast<double>(result.negatives + 2);
  std::vector<double> smoothed;
  for (const double target : known.targets) smoothed.push_back(target == 1.0 ? high : low);
  if (method == CalibrationMethod::platt) fit_platt(known, smoothed, result);
  if (method == CalibrationMethod::temperature) fit_temperature(known, smoothed, result);
  if (method == CalibrationMethod::isotonic) fit_isotonic(known, result);
  return result;
}

std::vector<Calibrator> fit_softmax_temperature(const core::Tensor& logits, const core::Tensor& targets) {
  const KnownRows known = known_rows(logits, targets);
  const auto rows = static_cast<int64_t>(known.labels.size());
  std::vector<Calibrator> result(static_cast<size_t>(logits.size(1)));
  for (const size_t label : known.labels) ++result[label].positives;
  for (Calibrator& label : result) label.negatives = rows - label.positives;
  const auto enough = std::count_if(result.begin(), result.end(), [](const Calibrator& label) {
    return label.positives >= kFewestPerClass;
  });
  const bool finite = std::all_of(known.logits.begin(), known.logits.end(), [](const auto& z) {
    return std::all_of(z.begin(), z.end(), [](double value) { return std::isfinite(value); });
  });
  if (enough < 2 || !finite) {
    const std::string reason =
        finite ? fmt::format("{} labels have {} or more rows in the validation part, expected at least 2",
                             enough, kFewestPerClass)
               : "a logit of the validation part is not a finite number";
    for (Calibrator& label : result) label.reason = reason;
    return result;
  }
  const auto n = static_cast<double>(rows);
  const double all = n + static_cast<double>(result.size());
  const double slope = slope_without_derivative([&](double at) {
    double sum = 0.0;
    for (size_t i = 0; i < known.labels.size(); ++i)
      sum += softmax_derivative(known.logits[i], known.labels[i], at, (n + 1.0) / all, 1.0 / all);
    return sum;
  });
  for (Calibrator& label : result) {
    label.method = CalibrationMethod::temperature;
    label.slope = slope;
  }
  return result;
}

std::vector<double> pool_adjacent_violators(std::span<const double> targets,
                                            std::span<const double> weights) {
  struct Block {
    double mean, weight;
    size_t count;
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < targets.size(); ++i) {
    blocks.push_back({targets[i], weights[i], 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean >= blocks.back().mean) {
      const Block last = blocks.back();
      blocks.pop_back();
      Block& into = blocks.back();
      into.mean = (into.mean * into.weight + last.mean * last.weight) / (into.weight + last.weight);
      into.weight += last.weight;
      into.count += last.count;
    }
  }
  std::vector<double> values;
  for (const Block& block : blocks) values.insert(values.end(), block.count, block.mean);
  return values;
}

Recalibration recalibrate(std::span<const double> probabilities, std::span<const double> targets,
                          std::span<const uint32_t> cluster) {
  const data::Estimate undefined{kUndefined, kUndefined, kUndefined};
  std::vector<double> logits, known;
  std::vector<uint32_t> clusters;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (std::isnan(targets[i])) continue;
    if (std::isnan(probabilities[i])) return {undefined, undefined, "a probability is not a number"};
    logits.push_back(data::logit(probabilities[i]));
    known.push_back(targets[i]);
    clusters.push_back(cluster[i]);
  }
  const auto positives = std::count(known.begin(), known.end(), 1.0);
  if (positives == 0 || positives == static_cast<std::ptrdiff_t>(known.size()))
    return {undefined, undefined, "not estimable: a class is missing"};
  double highest_negative = -INFINITY, lowest_positive = INFINITY;
  for (size_t i = 0; i < known.size(); ++i) {
    if (known[i] == 1.0) lowest_positive = std::min(lowest_positive, logits[i]);
    if (known[i] == 0.0) highest_negative = std::max(highest_negative, logits[i]);
  }
  if (highest_negative < lowest_positive)
    return {undefined, undefined, "not estimable: the classes are separated"};
  const auto estimate = [&](const LogisticFit& fit, Eigen::Index at) {
    if (!fit.converged) return undefined;
    return data::normal_interval(fit.coefficients[at], std::sqrt(fit.covariance(at, at)));
  };
  const Eigen::MatrixXd none(static_cast<Eigen::Index>(known.size()), 0);
  // The slope is that of the centred values, whose covariance keeps its digits where they hardly differ.
  Eigen::MatrixXd centred = as_column(logits);
  centred.array() -= centred.mean();
  return {estimate(fit_logistic(none, known, {.offset = logits, .cluster = clusters}), 0),
          estimate(fit_logistic(centred, known, {.cluster = clusters}), 1),
          {}};
}

}  // namespace medfusion::tools
