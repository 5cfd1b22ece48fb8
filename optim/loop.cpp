#include "optim/loop.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "layers/functional/loss.h"
#include "optim/ema.h"
#include "optim/freeze.h"
#include "optim/mixup.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "optim/state.h"
#include "optim/step.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using core::Variable;
using Clock = std::chrono::steady_clock;

constexpr const char* kOptimizerPrefix = "optimizer.";
constexpr const char* kAveragePrefix = "ema.";

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
  step.keep_statistics = options.nonfinite == Nonfinite::skip || options.trace_nonfinite;
  layers::LossOptions& loss = step.loss;
  if (loss.kind == layers::LossKind::bce && loss.weighting != PositiveWeight::none)
    loss.positive_weight = positive_weights(targets, loss.weighting, loss.exclusive);
  return step;
}

std::unique_ptr<Optimizer> make_optimizer(const Parameters& parameters, const TrainOptions& options) {
  if (options.optimizer == OptimizerKind::adamw) {
    AdamWOptions adamw = options.adamw;
    adamw.weight_decay = options.weight_decay;
    return std::make_unique<AdamW>(parameters, adamw);
  }
  SgdOptions sgd = options.sgd;
  sgd.weight_decay = options.weight_decay;
  return std::make_unique<SGD>(parameters, sgd);
}

// A group of the optimizer, and its learning rate in units of that of all else.
struct RateGroup {
  size_t group;
  double rate;
};

// Those of the backbone's blocks, where they have learning rates of their own.
std::vector<RateGroup> add_backbone_groups(Optimizer& optimizer, const models::Network& network,
                                           const TrainOptions& options) {
  std::vector<RateGroup> groups;
  if (options.backbone_rate == 1.0 && options.layer_decay == 1.0 && options.freeze_epochs == 0) return groups;
  auto blocks = backbone_blocks(network.parameters());
  if (options.layer_decay == 1.0) {  // one rate
    for (size_t i = 1; i < blocks.size(); ++i) blocks.front().merge(blocks[i]);
    if (!blocks.empty()) blocks.resize(1);
  }
  double rate = options.backbone_rate;
  for (size_t i = blocks.size(); i-- > 0; rate *= options.layer_decay)
    groups.push_back({optimizer.add_group(blocks[i]), rate});
  return groups;
}

std::unique_ptr<OptimizerShare> make_share(const models::Network& network, const TrainOptions& options,
                                           core::Communicator* ranks) {
  if (!options.shard_optimizer || ranks == nullptr || ranks->size() == 1) return nullptr;
  return std::make_unique<OptimizerShare>(trained_parameters(network), *ranks);
}

// Thrown out of an evaluation that is to stop.
struct Stopped {};

// One training run: what train() keeps between epochs.
class Run {
 public:
  Run(models::Network& network, data::Loader& training, const Tensor& targets, const TrainOptions& options,
      const TrainCallbacks& callbacks, const TrainState* from, core::Communicator* ranks)
      : network_(network),
        training_(training),
        options_(options),
        callbacks_(callbacks),
        ranks_(ranks),
        step_options_(step_options(options, targets)),
        share_(make_share(network, options, ranks)),
        optimizer_(make_optimizer(share_ ? share_->own() : trained_parameters(network), options)),
        backbone_groups_(add_backbone_groups(*optimizer_, network, options)) {
    const auto per_epoch = static_cast<double>(training.batches());
    schedule_.peak = options.learning_rate;
    schedule_.minimum = options.min_learning_rate;
    schedule_.warmup_steps = static_cast<int64_t>(std::lround(options.warmup_epochs * per_epoch));
    schedule_.total_steps = options.epochs * training.batches();
    schedule_.cosine = options.schedule == ScheduleKind::cosine;
    if (options.ema_decay > 0.0) average_ = std::make_unique<WeightAverage>(network, options.ema_decay);
    if (from != nullptr) restore(*from);
    state_.epochs = options.epochs;
    step_ = std::make_unique<TrainingStep>(network, *optimizer_, average_.get(), step_options_, ranks,
                                           share_.get());
  }

  // What is known of the run so far, but for its tensors.
  TrainState& state() { return state_; }
  const layers::LossOptions& loss() const { return step_options_.loss; }

  // Trains what is left of the epoch; false where it was asked to stop.
  bool run_epoch() {
    started_ = Clock::now();
    const int64_t epoch = state_.epochs_done + 1;
    for (const auto& [group, rate] : backbone_groups_)
      optimizer_->set_group_rate(group, epoch <= options_.freeze_epochs ? 0.0 : rate);
    core::Batch batch;
    training_.begin_epoch(epoch, state_.batches);
    bool more = next(batch, state_.steps);
    if (more) step_->stage(batch, state_.steps);
    while (more) {
      const int64_t size = batch.whole_size();
      step_->start(schedule_.learning_rate(state_.steps));
      // Meanwhile the next batch is on its way.
      more = next(batch, state_.steps + 1);
      if (more) step_->stage(batch, state_.steps + 1);
      const StepResult step = step_->finish();
      count(step, size);
      if (!step.finite()) leave_out(step, epoch, state_.batches);
      if (callbacks_.on_batch) {
        callbacks_.on_batch({epoch, options_.epochs, state_.batches, training_.batches(), size, step.loss});
      }
      if (should_stop()) {
        save();
        return false;
      }
      if (more && is_due()) save();
    }
    MEDFUSION_CHECK(state_.batches > 0, "train: an epoch without a batch");
    if (state_.samples == 0) {
      throw core::Error(
          fmt::format("training diverged: no step of epoch {} had a finite loss and gradient", epoch));
    }
    count_seconds();
    return true;
  }

  // Validation loss and metrics of the weights that count; nothing where it was asked to stop.
  template <class Evaluate>
  auto evaluated(const Evaluate& evaluate) -> std::optional<decltype(evaluate())> {
    swap_average();
    std::optional<decltype(evaluate())> result;
    try {
      result = evaluate();
    } catch (const Stopped&) {
    }
    swap_average();
    if (!result) save();
    return result;
  }

  // The line of the epoch for the log.
  nlohmann::ordered_json line() const {
    nlohmann::ordered_json line;
    line["epoch"] = state_.epochs_done + 1;
    line["train_loss"] = train_loss();
    line["learning_rate"] = schedule_.learning_rate(state_.steps - 1);
    line["gradient_norm"] = state_.norm_sum / static_cast<double>(state_.batches - state_.skipped);
    if (state_.skipped > 0) line["skipped_steps"] = state_.skipped;
    line["seconds"] = state_.seconds;
    line["images_per_second"] = static_cast<double>(state_.samples) / state_.seconds;
    return line;
  }

  // Gives the weights that count to on_checkpoint.
  void keep_weights(bool is_best) {
    if (!callbacks_.on_checkpoint) return;
    swap_average();
    check_finite(weights_of(network_), "training diverged");
    callbacks_.on_checkpoint(weights_of(network_), is_best, state_.epochs_done + 1);
    swap_average();
  }

  void end_epoch() {
    state_.last_train_loss = train_loss();
    ++state_.epochs_done;
    state_.batches = state_.samples = state_.skipped = 0;
    state_.loss_sum = state_.norm_sum = state_.seconds = 0.0;
    save();
  }

  bool stops_early() const {
    return options_.early_stopping > 0 && state_.without_gain >= options_.early_stopping;
  }
  core::Communicator* ranks() const { return ranks_; }  // null: this is the only one
  // All ranks stop where one of them is asked to.
  bool should_stop() const {
    const bool here = callbacks_.should_stop && callbacks_.should_stop();
    return ranks_ != nullptr ? core::any_rank(*ranks_, here) : here;
  }

  // Exchanges the network's weights with their average, where one is kept.
  void swap_average() {
    if (average_) average_->swap();
  }

 private:
  double train_loss() const { return state_.loss_sum / static_cast<double>(state_.samples); }

  // The next batch of the epoch, for this step.
  bool next(core::Batch& batch, int64_t step) {
    if (!training_.next(batch)) return false;
    if (options_.mixup > 0.0) mix_up(batch, options_.mixup, training_.plan(), options_.step.seed, step);
    return true;
  }

  void restore(const TrainState& from) {
    load_weights(network_, from.tensors, from.file);
    const NamedTensors state = with_prefix(from.tensors, kOptimizerPrefix);
    optimizer_->load_state(share_ ? share_->own_state(state) : state, from.file);
    if (average_) average_->load(with_prefix(from.tensors, kAveragePrefix), from.file);
    state_ = from;
    state_.tensors.clear();
    // A training that stopped early, and is to have more epochs, has its patience anew.
    if (state_.epochs < options_.epochs && stops_early()) state_.without_gain = 0;
  }

  void count(const StepResult& step, int64_t size) {
    ++state_.steps;
    ++state_.batches;
    if (!step.finite()) {
      ++state_.skipped;
      ++state_.skipped_in_a_row;
      return;
    }
    state_.skipped_in_a_row = 0;
    state_.samples += size;
    state_.loss_sum += step.loss * static_cast<double>(size);
    state_.norm_sum += step.gradient_norm;
  }

  void count_seconds() {
    state_.seconds += seconds_since(started_);
    started_ = Clock::now();
  }

  // Whether train.checkpoint_every asks for a state now.
  bool is_due() const {
    if (every_.steps > 0 && state_.steps % every_.steps == 0) return true;
    const bool due = every_.minutes > 0.0 && seconds_since(saved_) >= 60.0 * every_.minutes;
    // All ranks gather what is saved, so rank 0 decides.
    return share_ ? core::any_rank(*ranks_, due && ranks_->rank() == 0) : due;
  }

  void save() {
    if (state_.batches > 0) count_seconds();
    saved_ = Clock::now();
    NamedTensors optimizer = optimizer_->state_tensors();
    if (share_) optimizer = share_->gather_state(optimizer, optimizer_->parts());
    if (!callbacks_.on_state) return;
    state_.tensors = weights_of(network_);
    const auto add = [this](const char* prefix, const NamedTensors& tensors) {
      for (const auto& [name, tensor] : tensors) state_.tensors[prefix + name] = tensor;
    };
    add(kOptimizerPrefix, optimizer);
    if (average_) add(kAveragePrefix, average_->tensors());
    callbacks_.on_state(state_);
    state_.tensors.clear();
  }

  // After a step whose loss or gradient is not finite, which changed nothing. Throws where training ends.
  void leave_out(const StepResult& step, int64_t epoch, int64_t batch) {
    const auto unsigned_nan = [](double x) { return std::isnan(x) ? std::abs(x) : x; };
    const std::string what =
        fmt::format("loss {}, gradient norm {} in epoch {}, batch {}", unsigned_nan(step.loss),
                    unsigned_nan(step.gradient_norm), epoch, batch);
    const auto note = [&](const std::string& text) {
      if (callbacks_.on_note) callbacks_.on_note(text);
    };
    if (options_.trace_nonfinite)
      note(fmt::format("trace of epoch {}, batch {}: {}", epoch, batch, step_->trace(callbacks_.row_name)));
    const bool skips = options_.nonfinite == Nonfinite::skip;
    if (skips && state_.skipped_in_a_row <= options_.nonfinite_limit) return note("skipped a step: " + what);
    throw core::Error(fmt::format(
        "training diverged: {}{}; this step was not kept. Try a lower learning rate{}", what,
        skips ? fmt::format(", after {} skipped step{} in a row", options_.nonfinite_limit,
                            options_.nonfinite_limit == 1 ? "" : "s")
              : "",
        options_.trace_nonfinite ? ""
                                 : ", or medfusion train --trace-nonfinite, which shows where it begins"));
  }

  models::Network& network_;
  data::Loader& training_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  core::Communicator* const ranks_;  // null: this is the only one
  StepOptions step_options_;
  std::unique_ptr<OptimizerShare> share_;  // null: the optimizer has all parameters
  std::unique_ptr<Optimizer> optimizer_;
  const std::vector<RateGroup> backbone_groups_;
  std::unique_ptr<WeightAverage> average_;
  std::unique_ptr<TrainingStep> step_;
  Schedule schedule_;
  const CheckpointInterval every_ =
      checkpoint_interval(options_.checkpoint_every).value_or(CheckpointInterval{});
  TrainState state_;
  Clock::time_point started_ = Clock::now();  // since when the seconds of the epoch are not yet counted
  Clock::time_point saved_ = Clock::now();
};

// Validation loss and metrics; thresholds are chosen on these very predictions.
struct Evaluation {
  double loss;
  Metrics metrics;
};

Evaluation evaluate(models::Network& network, data::Loader& loader, const std::vector<std::string>& labels,
                    const layers::LossOptions& loss, const Run& run) {
  const auto stop = [&run](int64_t) {
    if (run.should_stop()) throw Stopped();
  };
  // Ranks have different numbers of batches, so they agree to stop only after the last.
  const Predictions predictions =
      predict(network, loader, loss.exclusive ? Output::softmax : Output::sigmoid,
              run.ranks() == nullptr ? stop : std::function<void(int64_t)>(), run.ranks());
  if (run.ranks() != nullptr) stop(0);
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

std::optional<CheckpointInterval> checkpoint_interval(const std::string& text) {
  if (text == "epoch") return CheckpointInterval{};
  const size_t space = text.find(' ');
  const std::string unit = space == std::string::npos ? "" : text.substr(space + 1);
  const char* const end = text.data() + std::min(space, text.size());
  CheckpointInterval result;
  if (unit == "steps" || unit == "step") {
    const auto [stop, error] = std::from_chars(text.data(), end, result.steps);
    if (error == std::errc() && stop == end && result.steps > 0) return result;
  } else if (unit == "minutes" || unit == "minute") {
    const auto [stop, error] = std::from_chars(text.data(), end, result.minutes);
    if (error == std::errc() && stop == end && result.minutes > 0.0 && std::isfinite(result.minutes))
      return result;
  }
  return std::nullopt;
}

void TrainOptions::check_rules(const core::Require& require) const {
  require(checkpoint_interval(checkpoint_every).has_value(), {"train.checkpoint_every"},
          fmt::format("expected \"N steps\", \"N minutes\" or \"epoch\", got \"{}\"", checkpoint_every));
  require(epochs == 0 || warmup_epochs <= static_cast<double>(epochs),
          {"train.warmup_epochs", "train.epochs"},
          fmt::format("expected at most train.epochs = {}, got {}", epochs, warmup_epochs));
  require(std::has_single_bit(static_cast<uint64_t>(step.shards)), {"train.shards"},
          fmt::format("expected a power of two, got {}", step.shards));
  require(step.shards <= batch_size, {"train.shards", "train.batch_size"},
          fmt::format("expected at most train.batch_size = {}, got {}", batch_size, step.shards));
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

namespace {

// Counts an evaluation. Whether it is the best so far.
bool count_evaluation(TrainState& state, const MetricValue& auroc) {
  const bool improved =
      state.best_epoch == 0 ||
      (auroc.defined() && (!state.best_auroc.defined() || *auroc.value > *state.best_auroc.value));
  state.without_gain = improved ? 0 : state.without_gain + 1;
  if (improved) {
    state.best_epoch = state.epochs_done + 1;
    state.best_auroc = auroc;
  }
  return improved;
}

}  // namespace

TrainResult train(models::Network& network, data::Loader& training, const Tensor& training_targets,
                  data::Loader* validation, const std::vector<std::string>& labels,
                  const TrainOptions& options, const TrainCallbacks& callbacks, const TrainState* from,
                  core::Communicator* ranks) {
  Run run(network, training, training_targets, options, callbacks, from, ranks);
  TrainState& state = run.state();
  bool interrupted = false;
  while (!interrupted && state.epochs_done < options.epochs && !run.stops_early()) {
    const int64_t epoch = state.epochs_done + 1;
    if (!run.run_epoch()) {
      interrupted = true;
      break;
    }
    nlohmann::ordered_json line = run.line();
    bool improved = false;
    const bool due = epoch % options.eval_every == 0 || epoch == options.epochs;
    if (validation != nullptr && due) {
      const auto evaluation =
          run.evaluated([&] { return evaluate(network, *validation, labels, run.loss(), run); });
      if (!evaluation) {
        interrupted = true;
        break;
      }
      line["val_loss"] = evaluation->loss;
      line["val"] = to_json(evaluation->metrics);
      improved = count_evaluation(state, evaluation->metrics[Metric::auroc].mean);
    }
    if (improved) run.keep_weights(true);
    run.keep_weights(false);
    if (callbacks.on_epoch) callbacks.on_epoch(line);
    run.end_epoch();
  }
  run.swap_average();  // the average, where there is one, stays in the network
  return {.epochs_run = state.epochs_done,
          .best_epoch = state.best_epoch,
          .best_auroc = state.best_auroc,
          .last_train_loss = state.last_train_loss,
          .stopped_early = run.stops_early(),
          .interrupted = interrupted};
}

}  // namespace medfusion::optim
