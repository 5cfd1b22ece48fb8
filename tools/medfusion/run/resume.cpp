#include "tools/medfusion/run/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>

#include "core/tell.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/interruption.h"

namespace medfusion::tools {
namespace {

constexpr std::array kMayChange{"train.epochs",
                                "train.workers",
                                "train.checkpoint_every",
                                "train.keep_checkpoints",
                                "train.shard_optimizer",
                                "data.pack",
                                "threads"};

void say(const TrainingJob& job, const RunDirectory& run, const std::string& line) {
  run.log(line);
  if (!job.quiet) core::tell("note: {}{}\n", job.title.empty() ? "" : job.title + "  ", line);
}

// The epoch of the weights in best.safetensors; 0 where the file does not say.
int64_t epoch_of_best(const RunDirectory& run) {
  Metadata metadata;
  load_own_weights(run.checkpoint("best").string(), metadata, "best");
  const std::string& text = metadata["epoch"];
  int64_t epoch = 0;
  std::from_chars(text.data(), text.data() + text.size(), epoch);
  return epoch;
}

// best.safetensors may be of an epoch that the state does not know: that epoch comes again, to the same
// weights, unless the number of epochs has changed.
void check_best(const RunDirectory& run, const optim::TrainState& state, int64_t epochs) {
  if (state.best_epoch == 0) return;
  if (!std::filesystem::exists(run.checkpoint("best"))) {
    core::throw_input_error({run.folder().string()},
                            "best.safetensors is missing, and no other file holds the weights of epoch {}, "
                            "the best one; train anew, with --init for the last weights",
                            state.best_epoch);
  }
  const int64_t epoch = epoch_of_best(run);
  if (epoch == state.best_epoch || (epoch > state.best_epoch && epochs == state.epochs)) return;
  core::throw_input_error({run.checkpoint("best").string()},
                          "expected the weights of epoch {}, the best one of {}, got those of epoch {}{}",
                          state.best_epoch, state.file, epoch,
                          epoch > state.best_epoch ? "; resume once with the train.epochs it had" : "");
}

// A run that was cut off before its first checkpoint has at most the line of one epoch. What has more has
// lost its checkpoints, and to begin again would replace its weights.
void check_worth_little(const RunDirectory& run) {
  const std::filesystem::path file = run.file("metrics.jsonl");
  const std::string text = std::filesystem::exists(file) ? read_file(file) : "";
  const auto epochs = std::count(text.begin(), text.end(), '\n');
  if (epochs == 0 || (epochs == 1 && !run.is_finished())) return;
  core::throw_input_error({run.folder().string()},
                          "its checkpoints are gone, and training from the beginning would replace its "
                          "weights; train anew, with --init for its weights");
}

}  // namespace

nlohmann::ordered_json describe_start(const TrainingJob& job) {
  const std::string init = job.init.empty() ? "" : std::filesystem::absolute(job.init).string();
  const std::string index = job.device.index > 0 ? fmt::format(":{}", job.device.index) : "";
  return {{"device", core::name_of(job.device.type) + index},
          {"kernels", job.kernels},
          {"init", init},
          {"init_partial", job.init_partial}};
}

Start read_start(const RunDirectory& run) {
  const nlohmann::ordered_json data = run.read_json("data.json");
  if (!data.contains("start")) {
    core::throw_input_error({run.folder().string()},
                            "was trained by a version of medfusion that kept no checkpoints, so it cannot be "
                            "resumed; train anew, with --init for its weights");
  }
  try {
    const auto& start = data["start"];
    return {start.at("device").get<std::string>(), start.at("kernels").get<std::vector<std::string>>(),
            start.at("init").get<std::string>(), start.at("init_partial").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({run.file("data.json").string()},
                            "start: expected device, kernels, init and init_partial");
  }
}

Config resumed_config(const RunDirectory& run, const std::vector<std::string>& assignments) {
  ConfigBuilder builder;
  builder.read_file(run.file("config.toml").string());
  for (const std::string& assignment : assignments) {
    const std::string key = assignment.substr(0, assignment.find('='));
    if (std::find(kMayChange.begin(), kMayChange.end(), key) == kMayChange.end()) {
      core::throw_input_error({}, "--set {}: --resume goes on with the run as it is; only {} may change",
                              assignment, fmt::join(kMayChange, ", "));
    }
    builder.set(assignment);
  }
  return builder.build();
}

void check_same_data(const RunDirectory& run, const nlohmann::ordered_json& data) {
  const nlohmann::ordered_json before = run.read_json("data.json");
  for (const char* key : {"data_hash", "parts"}) {
    if (before.contains(key) && before[key] == data[key]) continue;
    core::throw_input_error({run.folder().string()},
                            "the data are not those that the run began with: {} of data.json was {}, is {}",
                            key, before.value(key, nlohmann::ordered_json()).dump(), data[key].dump());
  }
}

namespace {

std::optional<optim::TrainState> find_own_state(const TrainingJob& job, const RunDirectory& run,
                                                const Checkpoints& checkpoints) {
  auto state =
      checkpoints.newest([&](const std::string& why) { say(job, run, why + "; it is passed over"); });
  if (!state) {
    check_worth_little(run);
    run.keep_metrics(0);
    say(job, run, "resumed: there is no checkpoint, so training begins again");
    return state;
  }
  const int64_t epochs = job.config.train.epochs;
  if (epochs < state->epochs_done) {
    core::throw_input_error({}, "train.epochs: expected at least the {} that are done, got {}",
                            state->epochs_done, epochs);
  }
  check_best(run, *state, epochs);
  checkpoints.remove_newer(*state);
  checkpoints.remove_old();
  run.keep_metrics(state->epochs_done);
  const std::string place =
      state->batches > 0 ? fmt::format("in epoch {} after batch {}", state->epochs_done + 1, state->batches)
                         : fmt::format("after epoch {}", state->epochs_done);
  say(job, run,
      fmt::format("resumed from {}, {}", std::filesystem::path(state->file).filename().string(), place));
  if (epochs != state->epochs) {
    say(job, run,
        fmt::format("the run is to have {} epochs instead of {}, and its learning rate follows the schedule "
                    "of {} epochs from here on",
                    epochs, state->epochs, epochs));
  }
  return state;
}

}  // namespace

// Rank 0 looks, for it may remove files; the others load what it has found.
std::optional<optim::TrainState> find_state(const TrainingJob& job, const RunDirectory& run,
                                            const Checkpoints& checkpoints) {
  if (job.ranks == nullptr || job.ranks->size() == 1) return find_own_state(job, run, checkpoints);
  std::optional<optim::TrainState> state;
  if (job.ranks->rank() == 0) state = find_own_state(job, run, checkpoints);
  const std::string file = core::gather_texts(*job.ranks, state ? state->file : "").front();
  if (job.ranks->rank() != 0 && !file.empty()) state = checkpoints.load(file);
  job.ranks->barrier();  // before anything writes there
  return state;
}

void throw_interrupted(const TrainingJob& job, const std::string& where) {
  const int caught = SignalWatch::caught(),
            signal = caught == 0 ? SIGTERM : caught;  // 0: another rank caught it
  throw Interrupted(signal, fmt::format("stopped by {} {}; go on with: {}", name_of_signal(signal), where,
                                        job.resume_command));
}

}  // namespace medfusion::tools
