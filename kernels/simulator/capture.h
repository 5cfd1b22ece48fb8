// Graphs of the sim runtime: what a capture records, and the rules of joining streams. For kernels/simulator/
// only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/runtime.h"
#include "kernels/simulator/device_block.h"

namespace medfusion::simulator {

struct SimAccess {
  std::shared_ptr<SimBlock> block;
  bool written = false;
};

// One recorded piece of work and the nodes it runs after, as indices into the capture.
struct SimNode {
  uint64_t stream = 0;
  std::string name;
  std::vector<SimAccess> accesses;
  core::Runtime::Work work;
  std::vector<size_t> after;
};

class SimCapture {
 public:
  SimCapture(uint64_t id, uint64_t origin) : id_(id), origin_(origin) { last_[origin]; }

  uint64_t id() const { return id_; }
  uint64_t origin() const { return origin_; }
  std::vector<SimNode>& nodes() { return nodes_; }

  void add(SimNode node);
  // What later work of the stream runs after.
  const std::vector<size_t>& last_of(uint64_t stream) const { return last_.at(stream); }
  // Later work of the stream, which joins the capture, also runs after `nodes`.
  void join(uint64_t stream, const std::vector<size_t>& nodes);
  // The nodes of other streams that nothing on the origin waits for.
  std::vector<size_t> unjoined() const;

  std::string invalid;  // the call that broke the capture; empty while it is sound

 private:
  uint64_t id_;
  uint64_t origin_;
  std::vector<SimNode> nodes_;
  std::map<uint64_t, std::vector<size_t>> last_;  // per stream
};

}  // namespace medfusion::simulator
