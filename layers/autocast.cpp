#include "layers/autocast.h"

#include <utility>

namespace medfusion::layers {
namespace {

thread_local bool active = false;

}  // namespace

AutocastScope::AutocastScope(bool on) : before_(std::exchange(active, on)) {}
AutocastScope::~AutocastScope() { active = before_; }

bool autocast() { return active; }

}  // namespace medfusion::layers
