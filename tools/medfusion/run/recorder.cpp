#include "tools/medfusion/run/recorder.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <optional>

#include "core/safetensors.h"
#include "tools/medfusion/run/ranks.h"

namespace medfusion::tools {
namespace {

optim::ProgressOptions progress_options(bool quiet) {
  optim::ProgressOptions options;
  options.quiet = quiet;
  return options;
}

// On the cpu, in memory of their own.
optim::NamedTensors copies_of(const optim::NamedTensors& tensors) {
  optim::NamedTensors copies;
  for (const auto& [name, tensor] : tensors) {
    const bool on_cpu = tensor.device().type == core::DeviceType::cpu;
    copies[name] = on_cpu ? tensor.clone() : tensor.to(core::Device{});
  }
  return copies;
}

int64_t bytes_of(const optim::NamedTensors& tensors) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += tensor.bytes();
  return bytes;
}

std::string describe_epoch(const nlohmann::ordered_json& line) {
  std::string text = fmt::format("epoch {}  train loss {:.4f}", line["epoch"].get<int64_t>(),
                                 line["train_loss"].get<double>());
  if (line.contains("val_loss")) {
    const auto& auroc = line["val"]["macro"]["auroc"];
    text += fmt::format("  val loss {:.4f}  val macro AUROC {}", line["val_loss"].get<double>(),
                        auroc.is_null() ? "undefined" : fmt::format("{:.4f}", auroc.get<double>()));
    const auto& left_out = line["val"]["macro"]["left_out"];
    if (left_out.contains("auroc") && !left_out["auroc"].empty() && !auroc.is_null())
      text += fmt::format(" ({} undefined)", left_out["auroc"].size());
  }
  if (line.contains("skipped_steps"))
    text += fmt::format("  skipped steps: {}", line["skipped_steps"].get<int64_t>());
  return text + fmt::format("  {:.1f} s", line["seconds"].get<double>());
}

}  // namespace

Recorder::Recorder(const TrainingJob& job, const RunDirectory& run, const Metadata& metadata,
                   const Checkpoints& checkpoints, int64_t batches)
    : job_(job),
      run_(run),
      metadata_(metadata),
      checkpoints_(checkpoints),
      progress_(progress_options(job.quiet), batches) {}

Recorder::~Recorder() {
  if (writing_.valid()) writing_.wait();
}

optim::TrainCallbacks Recorder::callbacks() {
  optim::TrainCallbacks result;
  if (!is_speaker()) {
    result.should_stop = [this] { return job_.should_stop(); };
    return result;
  }
  result.on_batch = [this](const optim::BatchProgress& progress) { show_batch(progress); };
  result.on_note = [this](const std::string& text) {
    run_.log("note: " + text);
    progress_.note("note: " + text);
  };
  result.on_epoch = [this](const nlohmann::ordered_json& line) { end_epoch(line); };
  result.on_checkpoint = [this](const optim::NamedTensors& tensors, bool is_best, int64_t epoch) {
    keep_weights(tensors, is_best, epoch);
  };
  result.on_state = [this](const optim::TrainState& state) { keep_state(state); };
  result.should_stop = [this] {
    // What could not be written is known at the next step, not at the next checkpoint.
    if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) finish();
    return job_.should_stop();
  };
  return result;
}

void Recorder::finish() {
  if (writing_.valid()) writing_.get();
}

void Recorder::show_batch(const optim::BatchProgress& progress) {
  if (progress.batch == 1 || !begun_) {
    const std::string prefix = job_.title.empty() ? "" : job_.title + "  ";
    progress_.begin(fmt::format("{}epoch {}/{}", prefix, progress.epoch, progress.epochs), progress.batches);
    begun_ = true;
  }
  const bool finite = std::isfinite(progress.loss);
  progress_.advance(progress.samples, finite ? std::optional(progress.loss) : std::nullopt);
}

void Recorder::keep_weights(const optim::NamedTensors& tensors, bool is_best, int64_t epoch) {
  const std::string which = is_best ? "best" : "last";
  queued_.emplace_back([this, which, epoch, copies = copies_of(tensors)] {
    core::save_safetensors(run_.checkpoint(which).string(), copies,
                           metadata_of_weights(metadata_, epoch, which));
  });
}

void Recorder::end_epoch(const nlohmann::ordered_json& line) {
  progress_.end();
  const std::string text = describe_epoch(line);
  queued_.emplace_back([this, line, text] {
    run_.append_metrics(line);
    run_.log(text);
  });
  progress_.note((job_.title.empty() ? "" : job_.title + "  ") + text);
}

void Recorder::keep_state(const optim::TrainState& state) {
  finish();
  optim::TrainState copy = state;
  copy.tensors = copies_of(state.tensors);
  queued_.emplace_back([this, copy = std::move(copy)] {
    const auto start = std::chrono::steady_clock::now();
    checkpoints_.save(copy);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    run_.log(fmt::format("checkpoint after step {}: {:.1f} MB in {:.2f} s", copy.steps,
                         1e-6 * static_cast<double>(bytes_of(copy.tensors)), seconds.count()));
    if (job_.on_checkpoint) job_.on_checkpoint();
  });
  writing_ = std::async(std::launch::async, [jobs = std::exchange(queued_, {})]() mutable {
    for (auto& each : jobs) {
      each();
      each = nullptr;  // its copies go now, not with the next state
    }
  });
}

}  // namespace medfusion::tools
