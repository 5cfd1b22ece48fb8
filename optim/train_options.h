// The settings of training, section [train] of a configuration.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/settings.h"
#include "layers/context.h"
#include "layers/functional/loss.h"
#include "optim/metrics.h"
#include "optim/optimizer.h"

namespace medfusion::optim {

using layers::Precision;

// Where batch norms take their statistics from in training.
inline constexpr std::array kBatchStatistics{"shard", "batch"};
enum class BatchStatistics : uint8_t { shard, batch };
constexpr core::Names names_of(BatchStatistics) { return kBatchStatistics; }

// Of one step (optim/step.h).
struct StepOptions {
  layers::LossOptions loss;
  double clip_norm = 1.0;
  uint64_t seed = 1;
  Precision precision = Precision::f32;
  bool graph = true;
  // A step that is not finite leaves the running statistics as they were, at the cost of a copy in every
  // step.
  bool keep_statistics = false;
  int64_t shards = 1;  // of a batch; a power of two
  BatchStatistics batch_statistics = BatchStatistics::shard;
  int64_t bucket_bytes = 4 << 20;  // no setting: of what ranks exchange at a time (optim/shard_sum.h)
};

inline constexpr std::array kOptimizers{"adamw", "sgd"};
enum class OptimizerKind : uint8_t { adamw, sgd };
constexpr core::Names names_of(OptimizerKind) { return kOptimizers; }

// After the warm-up (optim/schedule.h).
inline constexpr std::array kScheduleKinds{"cosine", "constant"};
enum class ScheduleKind : uint8_t { cosine, constant };
constexpr core::Names names_of(ScheduleKind) { return kScheduleKinds; }

// What follows a step whose loss or gradient is NaN or infinite.
inline constexpr std::array kNonfinites{"stop", "skip"};
enum class Nonfinite : uint8_t { stop, skip };
constexpr core::Names names_of(Nonfinite) { return kNonfinites; }

inline constexpr std::array kCheckpoints{"best", "last"};
enum class Checkpoint : uint8_t { best, last };
constexpr core::Names names_of(Checkpoint) { return kCheckpoints; }

// How often a training saves where it stands, besides the end of each epoch; 0: not by this.
struct CheckpointInterval {
  int64_t steps = 0;
  double minutes = 0.0;
};

// "500 steps", "10 minutes" (or 2.5), or "epoch" for never; nothing where the text is none of these.
std::optional<CheckpointInterval> checkpoint_interval(const std::string& text);

struct TrainOptions {
  int64_t epochs = 30;
  int64_t batch_size = 32;
  OptimizerKind optimizer = OptimizerKind::adamw;
  double learning_rate = 1e-3;
  double weight_decay = 1e-2;
  AdamWOptions adamw;  // its weight decay, and that of sgd, is the one above
  SgdOptions sgd;
  double warmup_epochs = 1.0;
  ScheduleKind schedule = ScheduleKind::cosine;
  double min_learning_rate = 1e-5;
  StepOptions step;
  Nonfinite nonfinite = Nonfinite::stop;
  int64_t nonfinite_limit = 10;
  bool trace_nonfinite = false;  // no setting: says where a NaN or infinity comes from (optim/trace.h)
  bool shard_optimizer = false;
  double ema_decay = 0.0;
  double mixup = 0.0;
  std::vector<std::string> freeze;
  int64_t freeze_epochs = 0;
  double backbone_rate = 1.0;
  double layer_decay = 1.0;
  int64_t early_stopping = 0;
  bool prior_bias = true;
  int64_t eval_every = 1;
  int64_t workers = 1;
  std::string checkpoint_every = "10 minutes";
  int64_t keep_checkpoints = 2;
  Checkpoint select = Checkpoint::best;
  data::ThresholdRule threshold = data::ThresholdRule::youden;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("epochs", epochs, Range::at_least(0),
          "Passes over the training part; 0 writes a run with the initial weights.");
    visit("batch_size", batch_size, Range::in(1, 65536), "Samples per step.");
    visit(
        "shards", step.shards, Range::in(1, 1024),
        "Parts of a batch that are computed each on its own, a power of two; `mpirun -n N medfusion train` "
        "divides them among N ranks, and the results are the same for any N. More than 1 changes batch norm, "
        "which then takes its statistics from a shard.");
    visit("batch_statistics", step.batch_statistics,
          "Where batch norms take their statistics from in training: a `shard`, or the whole `batch`, for "
          "which shards meet in every batch norm; that is slower. With one shard it is the same.");
    visit("optimizer", optimizer, "`adamw`, or `sgd` with momentum.");
    visit("learning_rate", learning_rate, Range::above(0),
          "Highest learning rate, reached after the warm-up.");
    visit("weight_decay", weight_decay, Range::at_least(0),
          "Weight decay of weights; biases and norms have none.");
    visit("momentum", sgd.momentum, Range::below(0, 1), "Momentum of `sgd`.");
    visit("beta1", adamw.beta1, Range::below(0, 1), "Decay of the first moment of `adamw`.");
    visit("beta2", adamw.beta2, Range::below(0, 1), "Decay of the second moment of `adamw`.");
    visit("warmup_epochs", warmup_epochs, Range::at_least(0),
          "Epochs over which the learning rate rises from 0; may be a fraction.");
    visit("schedule", schedule,
          "The learning rate after the warm-up: `cosine` falls to `train.min_learning_rate`, `constant` "
          "stays.");
    visit("min_learning_rate", min_learning_rate, Range::at_least(0),
          "Learning rate at the end of `cosine`.");
    visit("clip_norm", step.clip_norm, Range::at_least(0),
          "Largest global norm of the gradients; 0 switches clipping off.");
    visit("nonfinite", nonfinite,
          "What follows a step whose loss or gradient is NaN or infinite, which never changes the weights: "
          "`stop` ends training, `skip` goes on with the next batch.");
    visit("nonfinite_limit", nonfinite_limit, Range::at_least(1),
          "The most such steps in a row that `skip` leaves out; one more ends training.");
    visit("shard_optimizer", shard_optimizer,
          "Whether each rank keeps the optimizer's state of some parameters only, and gets the values of the "
          "others: less memory, more traffic, the same bytes. No effect on one rank.");
    visit("ema_decay", ema_decay, Range::below(0, 1),
          "Decay per step of the moving average of the weights, which is evaluated and kept; 0 switches "
          "averaging off.");
    visit("mixup", mixup, Range::in(0, 1),
          "MixUp in training: images and targets of two rows are mixed by shares of Beta(mixup, mixup); 0 "
          "switches it off. Only for a network that reads nothing but images.");
    visit("freeze", freeze,
          "Parts of the network that stay as they are, by the names of their parameters or the beginning of "
          "these up to a dot: `features` is the backbone. Their batch norms take the running statistics, in "
          "training too. For weights of `--init`.");
    visit("freeze_epochs", freeze_epochs, Range::at_least(0),
          "In so many epochs at first the weights of the backbone stay as they are, so that a new head does "
          "not spoil those of `--init`. Its batch norms go on to collect statistics.");
    visit("backbone_rate", backbone_rate, Range::above(0),
          "Learning rate of the backbone in units of that of all else; below 1 for weights of `--init`.");
    visit("layer_decay", layer_decay, Range::in(1e-3, 1),
          "The last block of the backbone learns at `train.backbone_rate`, and each block before it at this "
          "many times the rate of the next one; 1 gives all one rate.");
    visit("early_stopping", early_stopping, Range::at_least(0),
          "Training stops after this many evaluations without a better validation macro AUROC; 0 switches "
          "this off.");
    step.loss.visit_fields(visit);
    visit("prior_bias", prior_bias, "Starts each label's bias at the log odds of its share of positives.");
    visit("graph", step.graph,
          "On a GPU, captures the training step as a graph and replays it; the numbers stay the same. It has "
          "no effect on the cpu.");
    visit("precision", step.precision,
          "Precision of training on a GPU. `tf32`: products and convolutions may round their operands to "
          "TF32. `bf16`: images and their feature maps are bf16, and linear layers and attention multiply in "
          "bf16; weights, statistics and the rest stay f32.");
    visit("eval_every", eval_every, Range::at_least(1),
          "Number of epochs from one evaluation on the validation part to the next.");
    visit("workers", workers, Range::in(0, 1024),
          "Number of threads that decode and augment images in advance; with 0 this happens between the "
          "steps.");
    visit("checkpoint_every", checkpoint_every,
          "How often training saves where it stands, besides the end of each epoch: `500 steps`, "
          "`10 minutes`, or `epoch` for no more than that. `train --resume` goes on from there.");
    visit("keep_checkpoints", keep_checkpoints, Range::in(1, 1000),
          "How many of the newest checkpoints stay in the run's folder `checkpoints`.");
    visit("select", select,
          "The checkpoint that eval and predict take: `best` by validation macro AUROC, or `last`.");
    visit("threshold", threshold, "How the validation part sets each label's threshold: Youden's J, or F1.");
  }
  void check_rules(const core::Require& require) const;
};

}  // namespace medfusion::optim
