// Streams, events and captured graphs of the sim runtime.
#include <algorithm>

#include "kernels/simulator/runtime.h"

namespace medfusion::simulator {

using namespace core;  // NOLINT(google-build-using-namespace): it implements the interface of core/runtime.h

Stream SimRuntime::create_stream() {
  const std::lock_guard lock(mutex_);
  return {add_queue(fmt::format("stream {}", queues_.size())).id};
}

// What is queued on it still runs.
void SimRuntime::destroy_stream(Stream stream) {
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  if (stream.id == 0) fail("stream 0 cannot be destroyed");
  forbid_in_capture(queue, "destroy_stream");
  queue.destroyed = true;
}

Event SimRuntime::create_event() {
  const std::lock_guard lock(mutex_);
  events_[++last_event_];
  return {last_event_};
}

void SimRuntime::destroy_event(Event event) {
  const std::lock_guard lock(mutex_);
  event_of(event);
  events_.erase(event.id);
}

void SimRuntime::record(Event event, Stream stream) {
  enter("record");
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  SimEvent& state = event_of(event);
  state = {};
  if (queue.capture) {
    state.capture = queue.capture->id();
    state.nodes = queue.capture->last_of(queue.id);
    return;
  }
  state.record = std::make_shared<SimRecord>();
  push(queue, {"record on " + queue.label, nullptr, {}, {}, state.record});
}

void SimRuntime::wait(Stream stream, Event event) {
  enter("wait");
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  const SimEvent& state = event_of(event);
  if (state.capture != 0) {
    const auto capture = captures_.find(state.capture);
    if (capture == captures_.end()) {
      fail("wait of {}: event {} was recorded during a capture that has ended", queue.label, event.id);
    }
    if (queue.capture && queue.capture != capture->second) {
      queue.capture->invalid = "wait";
      fail("wait of {}: event {} belongs to another capture", queue.label, event.id);
    }
    queue.capture = capture->second;
    queue.capture->join(queue.id, state.nodes);
    return;
  }
  if (!state.record) return;
  if (queue.capture) {
    queue.capture->invalid = "wait";
    fail("wait of {}: event {} was recorded outside the capture", queue.label, event.id);
  }
  push(queue, {"wait on " + queue.label, nullptr, {}, {state.record}, nullptr});
}

void SimRuntime::begin_capture(Stream stream) {
  enter("begin_capture");
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  if (queue.capture) fail("begin_capture: {} is already captured", queue.label);
  queue.capture = std::make_shared<SimCapture>(++last_graph_, queue.id);
  captures_[queue.capture->id()] = queue.capture;
}

// Ends the capture of all its streams, also when it throws, but for a call on the wrong stream.
Graph SimRuntime::end_capture(Stream stream) {
  enter("end_capture");
  const std::lock_guard lock(mutex_);
  SimQueue& origin = queue_of(stream);
  const std::shared_ptr<SimCapture> capture = origin.capture;
  if (!capture) fail("end_capture: {} is not captured", origin.label);
  if (capture->origin() != origin.id) {
    fail("end_capture: the capture of {} was begun on {}", origin.label, queues_[capture->origin()].label);
  }
  captures_.erase(capture->id());
  for (auto& [id, queue] : queues_) {
    if (queue.capture == capture) queue.capture = nullptr;
  }
  if (!capture->invalid.empty()) {
    fail("end_capture: the capture of {} was broken by {}", origin.label, capture->invalid);
  }
  if (const auto lost = capture->unjoined(); !lost.empty()) {
    const SimNode& node = capture->nodes()[lost.front()];
    fail("end_capture: {} does not wait for '{}' on {}, which joined its capture", origin.label, node.name,
         queues_[node.stream].label);
  }
  graphs_[capture->id()].captured = capture;
  return {capture->id()};
}

// Each captured stream but the first gets a stream of its own, so that replays run in any order the captured
// events allow. Replays of one graph follow each other.
void SimRuntime::replay(Graph graph, Stream stream) {
  enter("replay");
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  forbid_in_capture(queue, "replay");
  const auto found = graphs_.find(graph.id);
  if (found == graphs_.end()) fail("graph {} does not exist", graph.id);
  SimGraph& state = found->second;
  const std::vector<SimNode>& nodes = state.captured->nodes();

  const auto start = std::make_shared<SimRecord>();
  SimItem first{"replay on " + queue.label, nullptr, {}, {}, start};
  if (state.end) first.after.push_back(state.end);
  push(queue, std::move(first));
  std::vector<std::shared_ptr<SimRecord>> done;
  for (const SimNode& node : nodes) {
    SimQueue& lane = lane_of(state, graph, node.stream, queue);
    std::vector<std::shared_ptr<SimRecord>> after{start};
    for (const size_t earlier : node.after) after.push_back(done[earlier]);
    done.push_back(std::make_shared<SimRecord>());
    submit(lane, node.name, node.accesses, node.work, std::move(after), done.back());
  }
  state.end = std::make_shared<SimRecord>();
  SimItem last{"replay on " + queue.label, nullptr, {}, {}, state.end};
  for (const size_t node : state.captured->last_of(state.captured->origin()))
    last.after.push_back(done[node]);
  push(queue, std::move(last));
}

SimQueue& SimRuntime::lane_of(SimGraph& state, Graph graph, uint64_t captured, SimQueue& replaying) {
  if (captured == state.captured->origin()) return replaying;
  const auto [lane, is_new] = state.lanes.try_emplace(captured, queues_.size());
  if (is_new) add_queue(fmt::format("{} of graph {}", queues_[captured].label, graph.id));
  return queues_[lane->second];
}

// Replays that are queued still run.
void SimRuntime::destroy_graph(Graph graph) {
  const std::lock_guard lock(mutex_);
  if (graphs_.erase(graph.id) == 0) fail("graph {} does not exist", graph.id);
}

}  // namespace medfusion::simulator
