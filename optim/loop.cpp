#include "optim/loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "layers/functional/loss.h"
#include "optim/ema.h"
#include "optim/freeze.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "optim/step.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using core::Variable;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Positives and negatives of each label among the known targets.
struct Counts {
  std::vector<double> positives, negatives;
};

Counts count(const Tensor& targets) {
  const int64_t labels = targets.size(1);
  Counts counts{std::vector<double>(static_cast<size_t>(labels)),
                std::vector<double>(static_cast<size_t>(labels))};
  for (int64_t i = 0; i < targets.numel(); ++i) {
    const double value = targets.at(i);
    const auto label = static_cast<size_t>(i % labels);
    if (value == 1.0) ++counts.positives[label];
    if (value == 0.0) ++counts.negatives[label];
  }
  return counts;
}

StepOptions step_options(const TrainOptions& options, const Tensor& targets) {
  StepOptions step = options.step;
  layers::LossOptions& loss = step.loss;
  if (loss.kind == layers::LossKind::bce && loss.weighting != PositiveWeight::none)
    loss.positive_weight = positive_weights(targets, loss.weighting, loss.exclusive);
  return step;
}

std::unique_ptr<Optimizer> make_optimizer(const models::Network& network, const TrainOptions& options) {
  if (options.optimizer == OptimizerKind::adamw) {
    AdamWOptions adamw = options.adamw;
    adamw.weight_decay = options.weight_decay;
    return std::make_unique<AdamW>(trained_parameters(network), adamw);
  }
  SgdOptions sgd = options.sgd;
  sgd.weight_decay = options.weight_decay;
  return std::make_unique<SGD>(trained_parameters(network), sgd);
}

// One training run: what train() keeps between epochs.
class Run {
 public:
  Run(models::Network& network, data::Loader& training, const Tensor& targets, const TrainOptions& options,
      const TrainCallbacks& callbacks)
      : network_(network),
        training_(training),
        options_(options),
        callbacks_(callbacks),
        step_options_(step_options(options, targets)),
        optimizer_(make_optimizer(network, options)) {
    const auto per_epoch = static_cast<double>(training.batches());
    schedule_.peak = options.learning_rate;
    schedule_.minimum = options.min_learning_rate;
    schedule_.warmup_steps = static_cast<int64_t>(std::lround(options.warmup_epochs * per_epoch));
    schedule_.total_steps = options.epochs * training.batches();
    schedule_.cosine = options.schedule == ScheduleKind::cosine;
    if (options.ema_decay > 0.0) average_ = std::make_unique<WeightAverage>(network, options.ema_decay);
    step_ = std::make_unique<TrainingStep>(network, *optimizer_, average_.get(), step_options_);
  }

  // Trains one epoch and returns its line for the log.
  nlohmann::ordered_json run_epoch(int64_t epoch) {
    const auto start = Clock::now();
    double loss_sum = 0.0, norm_sum = 0.0;
    int64_t samples = 0, batches = 0;
    core::Batch batch;
    training_.begin_epoch(epoch);
    bool more = training_.next(batch);
    if (more) step_->stage(batch, steps_);
    while (more) {
      const int64_t size = batch.size();
      step_->start(schedule_.learning_rate(steps_++));
      // Meanwhile the next batch is on its way.
      more = training_.next(batch);
      if (more) step_->stage(batch, steps_);
      const StepResult step = step_->finish();
      if (!std::isfinite(step.loss)) {
        throw core::Error(
            fmt::format("training diverged: loss {} in epoch {}, batch {}; try a lower learning rate",
                        step.loss, epoch, batches + 1));
      }
      ++batches;
      samples += size;
      loss_sum += step.loss * static_cast<double>(size);
      norm_sum += step.gradient_norm;
      if (callbacks_.on_batch) {
        callbacks_.on_batch({epoch, options_.epochs, batches, training_.batches(), size, step.loss});
      }
    }
    MEDFUSION_CHECK(samples > 0, "train: an epoch without a batch");
    last_loss_ = loss_sum / static_cast<double>(samples);
    const double seconds = seconds_since(start);
    nlohmann::ordered_json line;
    line["epoch"] = epoch;
    line["train_loss"] = last_loss_;
    line["learning_rate"] = schedule_.learning_rate(steps_ - 1);
    line["gradient_norm"] = norm_sum / static_cast<double>(batches);
    line["seconds"] = seconds;
    line["images_per_second"] = static_cast<double>(samples) / seconds;
    return line;
  }

  // Exchanges the network's weights with their average, where one is kept.
  void swap_average() {
    if (average_) average_->swap();
  }

  double last_loss() const { return last_loss_; }
  const layers::LossOptions& loss() const { return step_options_.loss; }

  // A copy of the weights, with the optimizer's state where asked.
  NamedTensors snapshot(bool with_optimizer) const {
    NamedTensors tensors = weights_of(network_);
    if (with_optimizer) {
      for (const auto& [name, tensor] : optimizer_->state_tensors()) tensors["optimizer." + name] = tensor;
    }
    return tensors;
  }

 private:
  models::Network& network_;
  data::Loader& training_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  StepOptions step_options_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;
  std::unique_ptr<TrainingStep> step_;
  Schedule schedule_;
  int64_t steps_ = 0;  // started so far
  double last_loss_ = 0.0;
};

// Validation loss and metrics; thresholds are chosen on these very predictions.
struct Evaluation {
  double loss;
  Metrics metrics;
};

Evaluation evaluate(models::Network& network, data::Loader& loader, const std::vector<std::string>& labels,
                    const layers::LossOptions& loss) {
  const Predictions predictions =
      predict(network, loader, loss.exclusive ? Output::softmax : Output::sigmoid);
  const core::NoGradGuard no_gradients;
  const double value =
      layers::label_loss(Variable(predictions.logits), predictions.targets, loss).value().item();
  if (loss.exclusive) {
    const std::vector<MetricValue> none(labels.size(), MetricValue::undefined(kMostProbable));
    return {value, compute_metrics(predictions.probabilities, predictions.targets, labels, none,
                                   most_probable(predictions.probabilities), predictions.log_odds)};
  }
  const auto thresholds = choose_thresholds(predictions.probabilities, predictions.targets);
  return {value, compute_metrics(predictions.probabilities, predictions.targets, labels, thresholds, {},
                                 predictions.log_odds)};
}

}  // namespace

void TrainOptions::check_rules(const core::Require& require) const {
  require(epochs == 0 || warmup_epochs <= static_cast<double>(epochs),
          {"train.warmup_epochs", "train.epochs"},
          fmt::format("expected at most train.epochs = {}, got {}", epochs, warmup_epochs));
  require(schedule != ScheduleKind::cosine || min_learning_rate <= learning_rate,
          {"train.min_learning_rate", "train.learning_rate"},
          fmt::format("expected at most train.learning_rate = {}, got {}", learning_rate, min_learning_rate));
}

Tensor positive_weights(const Tensor& targets, PositiveWeight kind, bool exclusive) {
  const Counts counts = count(targets);
  const auto labels = static_cast<double>(counts.positives.size());
  std::vector<float> weights;
  for (size_t i = 0; i < counts.positives.size(); ++i) {
    double weight = 1.0;
    if (kind != PositiveWeight::none && counts.positives[i] > 0.0 && counts.negatives[i] > 0.0) {
      const double rows = counts.positives[i] + counts.negatives[i];
      weight = (exclusive ? rows / labels : counts.negatives[i]) / counts.positives[i];
      if (kind == PositiveWeight::sqrt) weight = std::sqrt(weight);
    }
    weights.push_back(static_cast<float>(std::min(weight, 100.0)));
  }
  return Tensor::from({static_cast<int64_t>(weights.size())}, weights);
}

Tensor prior_logits(const Tensor& targets, bool exclusive) {
  const Counts counts = count(targets);
  const auto labels = static_cast<double>(counts.positives.size());
  std::vector<float> logits;
  for (size_t i = 0; i < counts.positives.size(); ++i) {
    const double others =
        exclusive ? counts.positives[i] + counts.negatives[i] + labels : counts.negatives[i] + 1.0;
    logits.push_back(static_cast<float>(std::log((counts.positives[i] + 1.0) / others)));
  }
  return Tensor::from({static_cast<int64_t>(logits.size())}, logits);
}

TrainResult train(models::Network& network, data::Loader& training, const Tensor& training_targets,
                  data::Loader* validation, const std::vector<std::string>& labels,
                  const TrainOptions& options, const TrainCallbacks& callbacks) {
  TrainResult result;
  Run run(network, training, training_targets, options, callbacks);
  int64_t without_gain = 0;
  for (int64_t epoch = 1; epoch <= options.epochs; ++epoch) {
    nlohmann::ordered_json line = run.run_epoch(epoch);
    run.swap_average();
    bool improved = false;
    const bool due = epoch % options.eval_every == 0 || epoch == options.epochs;
    if (validation != nullptr && due) {
      const Evaluation evaluation = evaluate(network, *validation, labels, run.loss());
      line["val_loss"] = evaluation.loss;
      line["val"] = to_json(evaluation.metrics);
      const MetricValue& auroc = evaluation.metrics[Metric::auroc].mean;
      improved =
          result.best_epoch == 0 ||
          (auroc.defined() && (!result.best_auroc.defined() || *auroc.value > *result.best_auroc.value));
      without_gain = improved ? 0 : without_gain + 1;
      if (improved) {
        result.best_epoch = epoch;
        result.best_auroc = auroc;
      }
    }
    result.epochs_run = epoch;
    result.last_train_loss = run.last_loss();
    result.stopped_early = options.early_stopping > 0 && without_gain >= options.early_stopping;
    if (callbacks.on_checkpoint) {
      if (improved) callbacks.on_checkpoint(run.snapshot(false), true, epoch);
      callbacks.on_checkpoint(run.snapshot(true), false, epoch);
    }
    if (callbacks.on_epoch) callbacks.on_epoch(line);
    const bool last = epoch == options.epochs || result.stopped_early;
    if (last) break;  // the average, where there is one, stays in the network
    run.swap_average();
  }
  return result;
}

}  // namespace medfusion::optim
