// Signals that ask a training to end: SIGINT, SIGTERM and SIGHUP; and SIGPIPE, when the reader of what it
// prints has gone.
#pragma once

#include <string>

#include "core/error.h"

namespace medfusion::tools {

// Thrown where work ended because a signal asked for it. The program exits with 128 and the signal's number.
class Interrupted : public core::Error {
 public:
  Interrupted(int signal, const std::string& message) : core::Error(message), signal_(signal) {}
  int signal() const { return signal_; }

 private:
  int signal_;
};

// While one exists, the first of the signals is only noted, and the second ends the process at once. Signals
// that are ignored (by nohup) stay ignored. One at a time.
class SignalWatch {
 public:
  explicit SignalWatch(bool quiet);  // whether nothing is printed when the first arrives
  ~SignalWatch();                    // the signals act as before
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // The signal that arrived first; 0 where none did.
  static int caught();
};

// "SIGTERM"
std::string name_of_signal(int signal);

}  // namespace medfusion::tools
