#include "optim/train_state.h"

#include "core/error.h"

namespace medfusion::optim {
namespace {

using Json = nlohmann::ordered_json;

// Each member under its name; `visit` reads or writes.
template <class State, class Visit>
void visit_members(State& state, Visit visit) {
  visit("epochs", state.epochs);
  visit("steps", state.steps);
  visit("epochs_done", state.epochs_done);
  visit("last_train_loss", state.last_train_loss);
  visit("best_epoch", state.best_epoch);
  visit("without_gain", state.without_gain);
  visit("batches", state.batches);
  visit("skipped", state.skipped);
  visit("skipped_in_a_row", state.skipped_in_a_row);
  visit("samples", state.samples);
  visit("loss_sum", state.loss_sum);
  visit("norm_sum", state.norm_sum);
  visit("seconds", state.seconds);
}

}  // namespace

Json to_json(const TrainState& state) {
  Json json;
  visit_members(state, [&json](const char* name, const auto& value) { json[name] = value; });
  json["best_auroc"] = state.best_auroc.defined() ? Json(*state.best_auroc.value) : Json();
  json["best_auroc_reason"] = state.best_auroc.reason;
  return json;
}

TrainState train_state_from_json(const Json& json, const std::string& file) {
  TrainState state;
  state.file = file;
  try {
    visit_members(state, [&json](const char* name, auto& value) { json.at(name).get_to(value); });
    if (!json.at("best_auroc").is_null()) state.best_auroc.value = json.at("best_auroc").get<double>();
    state.best_auroc.reason = json.at("best_auroc_reason").get<std::string>();
  } catch (const nlohmann::json::exception&) {
    core::throw_input_error({file}, "metadata 'state': expected JSON as train writes it");
  }
  return state;
}

NamedTensors with_prefix(const NamedTensors& tensors, const std::string& prefix) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) result[name.substr(prefix.size())] = tensor;
  }
  return result;
}

}  // namespace medfusion::optim
