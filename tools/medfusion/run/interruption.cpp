#include "tools/medfusion/run/interruption.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <string_view>

namespace medfusion::tools {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGPIPE};

std::atomic<int> first_signal{0};
std::atomic<bool> is_quiet{false};
std::array<struct sigaction, kSignals.size()> actions_before;

static_assert(std::atomic<int>::is_always_lock_free);

// Only calls what a signal handler may.
void on_signal(int signal) {
  int none = 0;
  const bool is_first = first_signal.compare_exchange_strong(none, signal);
  if (signal == SIGPIPE) return;  // each line that nobody reads raises one
  if (!is_first) {
    std::signal(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  if (is_quiet) return;
  constexpr std::string_view kText =
      "\nmedfusion: stops after this step and saves it; a second signal ends it at once\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kText.data(), kText.size());
}

}  // namespace

SignalWatch::SignalWatch(bool quiet) {
  first_signal = 0;
  is_quiet = quiet;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &actions_before[i]);
    if (actions_before[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
}

SignalWatch::~SignalWatch() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &actions_before[i], nullptr);
}

int SignalWatch::caught() { return first_signal; }

std::string name_of_signal(int signal) {
  return signal == SIGINT    ? "SIGINT"
         : signal == SIGTERM ? "SIGTERM"
         : signal == SIGHUP  ? "SIGHUP"
                             : "SIGPIPE";
}

}  // namespace medfusion::tools
