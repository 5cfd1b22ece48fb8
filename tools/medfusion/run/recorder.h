// What a training shows and writes: the progress line, log, metrics, weights and checkpoints.
#pragma once

#include <functional>
#include <future>
#include <vector>

#include "optim/loop.h"
#include "optim/progress.h"
#include "tools/medfusion/run/checkpoints.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// Takes the callbacks of the training loop. What goes to the disk is copied and written by a thread of its
// own, in order: best.safetensors, last.safetensors, metrics.jsonl and train.log of an epoch, then the
// checkpoint that knows of them. So the state on the disk is never ahead of the rest.
class Recorder {
 public:
  // batches: that are left in all epochs together. All outlive it.
  Recorder(const TrainingJob& job, const RunDirectory& run, const Metadata& metadata,
           const Checkpoints& checkpoints, int64_t batches);
  ~Recorder();  // waits for what is being written
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  optim::TrainCallbacks callbacks();
  // Waits until all is on the disk. Throws what went wrong.
  void finish();

 private:
  void show_batch(const optim::BatchProgress& progress);
  void keep_weights(const optim::NamedTensors& tensors, bool is_best, int64_t epoch);
  void end_epoch(const nlohmann::ordered_json& line);
  void keep_state(const optim::TrainState& state);

  const TrainingJob& job_;
  const RunDirectory& run_;
  const Metadata& metadata_;
  const Checkpoints& checkpoints_;
  optim::Progress progress_;
  bool begun_ = false;                         // whether the progress line has its stage
  std::vector<std::function<void()>> queued_;  // to be written with the next state
  std::future<void> writing_;
};

}  // namespace medfusion::tools
