#include "tools/medfusion/run/checkpoints.h"

#include <xxhash.h>

#include <algorithm>

#include "core/file.h"
#include "core/safetensors.h"
#include "optim/state.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "state";
constexpr const char* kRun = "run";
constexpr const char* kWeights = "weights";

std::string checkpoint_name(int64_t step) { return fmt::format("step{:09}.safetensors", step); }

// Files of the folder with the name of a checkpoint, the newest first.
std::vector<fs::path> checkpoint_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step") && name.ends_with(".safetensors")) files.push_back(entry.path());
  }
  std::sort(files.rbegin(), files.rend());
  return files;
}

}  // namespace

std::string identity_of(const Config& config, const data::Dataset& dataset) {
  Config same = config;  // without what does not change the bytes, or may be changed on resuming
  same.threads = 0;
  same.train.epochs = 0;
  same.train.warmup_epochs = 0.0;  // has epochs as its limit
  same.train.workers = 0;
  same.train.checkpoint_every = optim::TrainOptions().checkpoint_every;
  same.train.keep_checkpoints = 1;
  same.train.shard_optimizer = false;
  same.data.root.clear();
  same.data.pack.clear();
  same.data.split.folds.clear();
  // What has its default is left out: a key that a later version adds makes no other run.
  Config defaults;
  const std::vector<core::Field> fields = core::fields_of(same), others = core::fields_of(defaults);
  std::string text = fmt::format("{}\n{:016x}\n", config.train.warmup_epochs, dataset.hash);
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string value = format_value(fields[i].value);
    if (value != format_value(others[i].value)) text += fields[i].name + " = " + value + "\n";
  }
  return fmt::format("{:016x}", XXH64(text.data(), text.size(), 0));
}

Checkpoints::Checkpoints(const RunDirectory& run, Metadata metadata, std::string identity, int64_t keep)
    : folder_(run.file("checkpoints")),
      metadata_(std::move(metadata)),
      identity_(std::move(identity)),
      keep_(keep) {}

void Checkpoints::save(const optim::TrainState& state) const {
  core::make_folder(folder_.string());  // where it cannot, saving says why
  const std::string file = (folder_ / checkpoint_name(state.steps)).string();
  optim::check_finite(state.tensors, file);
  Metadata metadata = metadata_;
  metadata[kRun] = identity_;
  metadata[kState] = to_text(to_json(state));
  core::save_safetensors(file, state.tensors, metadata);
  remove_old();
}

void Checkpoints::remove_old() const {
  const std::vector<fs::path> files = checkpoint_files(folder_);
  for (size_t i = static_cast<size_t>(keep_); i < files.size(); ++i) core::remove_file(files[i].string());
  std::error_code none;
  std::vector<fs::path> partial;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    if (entry.path().extension() == ".partial") partial.push_back(entry.path());
  }
  for (const fs::path& file : partial) core::remove_file(file.string());
}

void Checkpoints::remove_newer(const optim::TrainState& state) const {
  for (const fs::path& file : checkpoint_files(folder_)) {
    if (file.filename() > checkpoint_name(state.steps)) core::remove_file(file.string());
  }
}

optim::TrainState Checkpoints::load(const std::string& file) const {
  Metadata metadata;
  optim::NamedTensors tensors = load_own_weights(file, metadata);
  if (!metadata.contains(kState) || !metadata.contains(kRun))
    core::throw_input_error({file}, "expected a checkpoint of train, got a file of weights");
  if (metadata[kRun] != identity_)
    core::throw_input_error({file}, "belongs to another run, whose configuration or data differ");
  const auto json = nlohmann::ordered_json::parse(metadata[kState], nullptr, false);
  optim::TrainState state = optim::train_state_from_json(json, file);
  const std::string name = fs::path(file).filename().string();
  if (name != checkpoint_name(state.steps))
    core::throw_input_error({file}, "expected the state after the step of its name, got step {}",
                            state.steps);
  state.tensors = std::move(tensors);
  return state;
}

std::optional<optim::TrainState> Checkpoints::newest(
    const std::function<void(const std::string&)>& on_damaged) const {
  const std::vector<fs::path> files = checkpoint_files(folder_);
  for (const fs::path& file : files) {
    try {
      return load(file.string());
    } catch (const core::InputError& error) {
      if (on_damaged) on_damaged(error.what());
    }
  }
  if (!files.empty()) {
    core::throw_input_error(
        {folder_.string()},
        "expected a checkpoint that can be used, found none; train anew, with --init for its "
        "weights");
  }
  return std::nullopt;
}

optim::NamedTensors load_own_weights(const std::string& path, Metadata& metadata, const std::string& which) {
  optim::NamedTensors tensors = core::load_safetensors(path, &metadata);
  const bool states_checksum = metadata.contains(core::kChecksum);
  if (!states_checksum && (metadata.contains(kWeights) || metadata.contains(kState)))
    core::throw_input_error({path}, "damaged, or changed by another program: its checksum is missing");
  const auto found = metadata.find(kWeights);
  if (!which.empty() && found != metadata.end() && found->second != which)
    core::throw_input_error({path}, "expected the weights \"{}\", got \"{}\"", which, found->second);
  return tensors;
}

Metadata metadata_of_weights(Metadata metadata, int64_t epoch, const std::string& which) {
  metadata["epoch"] = std::to_string(epoch);
  metadata[kWeights] = which;
  return metadata;
}

}  // namespace medfusion::tools
