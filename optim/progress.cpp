#include "optim/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace medfusion::optim {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of the terminal in characters; a longer line would wrap and could not be rewritten.
size_t width_of(std::FILE* stream) {
  winsize size{};
  const bool known = ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col - size_t{1} : 79;
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  const int64_t hours = whole / 3600;
  const int64_t minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

Progress::Progress(ProgressOptions options, int64_t total_batches)
    : options_(std::move(options)), total_batches_(total_batches) {
  terminal_ = options_.terminal.value_or(::isatty(::fileno(options_.stream)) != 0);
  if (!options_.clock) options_.clock = steady_seconds;
}

Progress::~Progress() { end(); }

void Progress::begin(const std::string& title, int64_t batches) {
  end();
  title_ = title;
  batches_ = batches;
  done_ = images_ = loss_images_ = 0;
  loss_sum_ = 0.0;
  started_ = now_ = last_shown_ = options_.clock();
  active_ = true;
  if (terminal_) rewrite();
}

void Progress::advance(int64_t images, std::optional<double> loss) {
  ++done_;
  ++all_batches_done_;
  images_ += images;
  if (loss) {
    loss_sum_ += *loss * static_cast<double>(images);
    loss_images_ += images;
  }
  now_ = options_.clock();
  const double interval = terminal_ ? options_.terminal_interval : options_.plain_interval;
  if (now_ - last_shown_ < interval) return;
  last_shown_ = now_;
  rewrite();
}

void Progress::end() {
  if (!std::exchange(active_, false)) return;
  now_ = options_.clock();
  if (terminal_) {
    clear();
  } else {
    rewrite();
  }
  seconds_of_stages_ += now_ - started_;
}

void Progress::note(const std::string& line) {
  if (options_.quiet) return;
  clear();
  write(fmt::format("{}\n", line));
  if (active_ && terminal_) rewrite();
}

void Progress::write(const std::string& text) {
  std::fputs(text.c_str(), options_.stream);
  std::fflush(options_.stream);
}

std::string Progress::describe() const {
  std::string line = fmt::format("{}  batch {}/{}", title_, done_, batches_);
  if (loss_images_ > 0) line += fmt::format("  loss {:.4f}", loss_sum_ / static_cast<double>(loss_images_));
  const double seconds = now_ - started_;
  if (done_ == 0 || seconds <= 0.0) return line;
  const double rate = static_cast<double>(images_) / seconds;
  line += fmt::format("  {:.{}f} images/s", rate, rate < 10.0 ? 1 : 0);
  const bool all = total_batches_ > 0;
  const int64_t left = all ? total_batches_ - all_batches_done_ : batches_ - done_;
  const double seconds_per_batch =
      all ? (seconds_of_stages_ + seconds) / static_cast<double>(all_batches_done_)
          : seconds / static_cast<double>(done_);
  if (left > 0)
    line += fmt::format("  {} left", format_duration(seconds_per_batch * static_cast<double>(left)));
  return line;
}

void Progress::rewrite() {
  if (options_.quiet) return;
  const std::string line = describe();
  if (terminal_) {
    write(fmt::format("\r{}\x1b[K", line.substr(0, width_of(options_.stream))));
    line_shown_ = true;
  } else {
    write(fmt::format("{}\n", line));
  }
}

void Progress::clear() {
  if (!std::exchange(line_shown_, false)) return;
  write("\r\x1b[K");
}

}  // namespace medfusion::optim
