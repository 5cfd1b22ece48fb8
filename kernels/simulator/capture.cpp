#include "kernels/simulator/capture.h"

#include <algorithm>
#include <utility>

namespace medfusion::simulator {

using namespace core;  // NOLINT(google-build-using-namespace): it implements the interface of core/runtime.h

void SimCapture::add(SimNode node) {
  std::vector<size_t>& last = last_.at(node.stream);
  node.after = last;
  last = {nodes_.size()};
  nodes_.push_back(std::move(node));
}

void SimCapture::join(uint64_t stream, const std::vector<size_t>& nodes) {
  std::vector<size_t>& last = last_[stream];
  for (const size_t node : nodes) {
    if (std::find(last.begin(), last.end(), node) == last.end()) last.push_back(node);
  }
}

std::vector<size_t> SimCapture::unjoined() const {
  std::vector<bool> reached(nodes_.size());
  std::vector<size_t> open = last_.at(origin_);
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    open.insert(open.end(), nodes_[node].after.begin(), nodes_[node].after.end());
  }
  std::vector<size_t> found;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!reached[i]) found.push_back(i);
  }
  return found;
}

}  // namespace medfusion::simulator
