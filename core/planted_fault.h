// Faults on demand, to test what guards against them. MEDFUSION_PLANTED_FAULT in the environment is
// hang@N, crash@N or sticky@N: the N-th launch of the process (counted from 1, all devices but the cpu
// together) never returns, ends the process by SIGABRT, or throws Error, as does every launch after it.
#pragma once

#include <string>

namespace medfusion::core {

// Called at the beginning of each launch, with its name. Throws Error where the environment has something
// else than the above.
void planted_fault(const char* launch);

// The error of a planted sticky fault that has happened; empty otherwise.
std::string planted_loss();

}  // namespace medfusion::core
