// The progress of long work: one line rewritten in place on a terminal, plain lines at intervals elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

namespace medfusion::optim {

struct ProgressOptions {
  bool quiet = false;              // writes nothing at all
  std::FILE* stream = stderr;      // not closed
  std::optional<bool> terminal;    // whether the stream is one; found out where not given
  double terminal_interval = 0.1;  // seconds between two rewrites of the line
  double plain_interval = 10.0;    // seconds between two plain lines
  std::function<double()> clock;   // seconds of a steady clock; for tests
};

// "epoch 3/30  batch 12/40  loss 0.3210  532 images/s  4:10 left". Not for use by several threads at once.
// Where the stream cannot be written the work goes on.
class Progress {
 public:
  // total_batches: of all stages together, for the time left; 0 where it is not known, which then is the
  // stage's.
  explicit Progress(ProgressOptions options, int64_t total_batches = 0);
  ~Progress();  // ends the stage, clearing the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Starts a stage, e.g. "epoch 3/30", ending the one before.
  void begin(const std::string& title, int64_t batches);
  // One batch of `images` images is done. The loss shown is its mean over the stage, weighted by images.
  void advance(int64_t images, std::optional<double> loss = std::nullopt);
  // Ends the stage: clears the line on a terminal, writes the last plain line elsewhere.
  void end();
  // Writes a line that stays, e.g. the result of an evaluation.
  void note(const std::string& line);

 private:
  std::string describe() const;
  void rewrite();
  void clear();
  void write(const std::string& text);

  ProgressOptions options_;
  bool terminal_ = false;
  bool line_shown_ = false;
  bool active_ = false;

  int64_t total_batches_;
  int64_t all_batches_done_ = 0;
  double seconds_of_stages_ = 0.0;  // that have ended

  std::string title_;
  int64_t batches_ = 0;
  int64_t done_ = 0;
  int64_t images_ = 0;
  double loss_sum_ = 0.0;
  int64_t loss_images_ = 0;
  double started_ = 0.0;
  double now_ = 0.0;
  double last_shown_ = 0.0;
};

// "0:42", "12:05", "3:00:00"; seconds are rounded up.
std::string format_duration(double seconds);

}  // namespace medfusion::optim
