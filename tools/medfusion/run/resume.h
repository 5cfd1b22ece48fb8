// Going on with a training that was cut off or is to have more epochs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "optim/train_state.h"
#include "tools/medfusion/run/checkpoints.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// How a training was started, as data.json holds it under "start".
nlohmann::ordered_json describe_start(const TrainingJob& job);
struct Start {
  std::string device;                // as --device takes it
  std::vector<std::string> kernels;  // OPERATION=VARIANT
  std::string init;                  // absolute; empty: none
  bool init_partial = false;
};
// Throws core::InputError where the run was begun by a version that did not note it.
Start read_start(const RunDirectory& run);

// The configuration of a run, changed by assignments of --set, of which only those are allowed that leave
// what is done valid: train.epochs, train.workers, train.checkpoint_every, train.keep_checkpoints, threads.
// Throws core::InputError for others.
Config resumed_config(const RunDirectory& run, const std::vector<std::string>& assignments);

// Throws core::InputError where `data` (of data.json) is not of the data and parts that the run began with.
void check_same_data(const RunDirectory& run, const nlohmann::ordered_json& data);

// The state to go on from; nothing where there is none and training begins again. metrics.jsonl is cut to the
// epochs that the state knows. What is found, and what is damaged, goes to the log and, unless the job is
// quiet, to standard error. Throws core::InputError where best.safetensors does not belong to the state.
std::optional<optim::TrainState> find_state(const TrainingJob& job, const RunDirectory& run,
                                            const Checkpoints& checkpoints);

// Throws Interrupted: "stopped by SIGTERM `where`; go on with: COMMAND".
[[noreturn]] void throw_interrupted(const TrainingJob& job, const std::string& where);

}  // namespace medfusion::tools
