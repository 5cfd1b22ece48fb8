#include "data/statistics/logistic.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"

namespace medfusion::data {
namespace {

constexpr int kMostSteps = 100;

// log(1 + e^z) - y z
double loss_of(double z, double target) {
  return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))) - target * z;
}

class Problem {
 public:
  Problem(const Eigen::MatrixXd& features, std::span<const double> targets, const LogisticOptions& options)
      : design_(features.rows(), features.cols() + 1), options_(options) {
    const auto rows = features.rows();
    MEDFUSION_CHECK(rows > 0 && static_cast<size_t>(rows) == targets.size() &&
                        (options.offset.empty() || options.offset.size() == targets.size()) &&
                        (options.cluster.empty() || options.cluster.size() == targets.size()),
                    "logistic regression: {} rows, {} targets, {} offsets, {} clusters", rows, targets.size(),
                    options.offset.size(), options.cluster.size());
    design_ << Eigen::VectorXd::Ones(rows), features;
    targets_ = Eigen::Map<const Eigen::VectorXd>(targets.data(), rows);
    offset_ = Eigen::VectorXd::Zero(rows);
    if (!options.offset.empty()) offset_ = Eigen::Map<const Eigen::VectorXd>(options.offset.data(), rows);
    ridge_ = Eigen::VectorXd::Constant(design_.cols(), options.ridge);
    ridge_[0] = 0.0;
  }

  LogisticFit solve() const {
    LogisticFit fit;
    fit.coefficients = Eigen::VectorXd::Zero(design_.cols());
    double loss = loss_at(fit.coefficients);
    for (int step = 0; step < kMostSteps && !fit.converged; ++step) {
      const Eigen::VectorXd p = probabilities(fit.coefficients);
      const Eigen::VectorXd gradient =
          design_.transpose() * (p - targets_) + ridge_.cwiseProduct(fit.coefficients);
      const Eigen::VectorXd direction = hessian(p).ldlt().solve(gradient);
      if (!direction.allFinite()) break;
      double scale = 1.0;
      Eigen::VectorXd next = fit.coefficients - direction;
      double next_loss = loss_at(next);
      for (; !(next_loss <= loss) && scale > 1e-10; next_loss = loss_at(next)) {  // Newton may overshoot
        scale /= 2.0;
        next = fit.coefficients - scale * direction;
      }
      fit.converged = scale * direction.cwiseAbs().maxCoeff() <=
                      1e-10 * std::max(1.0, fit.coefficients.cwiseAbs().maxCoeff());
      if (!(next_loss <= loss)) break;
      fit.coefficients = next;
      loss = next_loss;
    }
    fit.covariance = covariance(fit.coefficients);
    return fit;
  }

 private:
  Eigen::VectorXd predictor(const Eigen::VectorXd& w) const { return design_ * w + offset_; }
  Eigen::VectorXd probabilities(const Eigen::VectorXd& w) const { return predictor(w).unaryExpr(&sigmoid); }

  double loss_at(const Eigen::VectorXd& w) const {
    const Eigen::VectorXd z = predictor(w);
    double sum = 0.5 * ridge_.dot(w.cwiseProduct(w));
    for (Eigen::Index i = 0; i < z.size(); ++i) sum += loss_of(z[i], targets_[i]);
    return sum;
  }

  Eigen::MatrixXd hessian(const Eigen::VectorXd& p) const {
    const Eigen::VectorXd weight = p.cwiseProduct(Eigen::VectorXd::Ones(p.size()) - p);
    Eigen::MatrixXd result = design_.transpose() * weight.asDiagonal() * design_;
    result += ridge_.asDiagonal();
    return result;
  }

  Eigen::MatrixXd covariance(const Eigen::VectorXd& w) const {
    const Eigen::VectorXd p = probabilities(w);
    std::map<uint32_t, Eigen::VectorXd> scores;  // of the clusters
    for (Eigen::Index i = 0; i < p.size(); ++i) {
      const uint32_t cluster =
          options_.cluster.empty() ? static_cast<uint32_t>(i) : options_.cluster[static_cast<size_t>(i)];
      auto [found, added] = scores.try_emplace(cluster, Eigen::VectorXd::Zero(design_.cols()));
      found->second += (targets_[i] - p[i]) * design_.row(i).transpose();
    }
    Eigen::MatrixXd meat = Eigen::MatrixXd::Zero(design_.cols(), design_.cols());
    for (const auto& [cluster, score] : scores) meat += score * score.transpose();
    const auto clusters = static_cast<double>(scores.size());
    if (scores.size() > 1) meat *= clusters / (clusters - 1.0);
    const auto bread = hessian(p).ldlt();
    return bread.solve(bread.solve(meat).transpose());
  }

  Eigen::MatrixXd design_;
  Eigen::VectorXd targets_, offset_, ridge_;
  const LogisticOptions& options_;
};

}  // namespace

LogisticFit fit_logistic(const Eigen::MatrixXd& features, std::span<const double> targets,
                         const LogisticOptions& options) {
  return Problem(features, targets, options).solve();
}

Eigen::VectorXd linear_predictor(const LogisticFit& fit, const Eigen::MatrixXd& features) {
  MEDFUSION_CHECK(features.cols() + 1 == fit.coefficients.size(),
                  "logistic regression: {} features for {} coefficients", features.cols(),
                  fit.coefficients.size());
  return (features * fit.coefficients.tail(features.cols())).array() + fit.coefficients[0];
}

double sigmoid(double value) {
  if (value >= 0.0) return 1.0 / (1.0 + std::exp(-value));
  const double e = std::exp(value);
  return e / (1.0 + e);
}

double logit(double probability) {
  constexpr double kEdge = 1e-7;
  const double p = std::clamp(probability, kEdge, 1.0 - kEdge);
  return std::log(p / (1.0 - p));
}

}  // namespace medfusion::data
