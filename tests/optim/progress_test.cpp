#include "optim/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace medfusion::optim {
namespace {

using testing::HasSubstr;
using testing::Not;

class ProgressTest : public testing::Test {
 protected:
  ProgressOptions options(bool terminal) {
    ProgressOptions result;
    result.stream = file_.get();
    result.terminal = terminal;
    result.clock = [this] { return now_; };
    return result;
  }

  // What was written since the last call.
  std::string written() {
    std::fflush(file_.get());
    std::string text;
    std::fseek(file_.get(), read_, SEEK_SET);
    for (int c = 0; (c = std::fgetc(file_.get())) != EOF;) text += static_cast<char>(c);
    read_ = std::ftell(file_.get());
    return text;
  }

  double now_ = 100.0;

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), std::fclose};
  long read_ = 0;
};

TEST_F(ProgressTest, RewritesOneLineOnATerminal) {
  Progress progress(options(true));
  progress.begin("epoch 1/2", 4);
  EXPECT_EQ(written(), "\repoch 1/2  batch 0/4\x1b[K");
  now_ += 1.0;
  progress.advance(32, 0.5);
  EXPECT_EQ(written(), "\repoch 1/2  batch 1/4  loss 0.5000  32 images/s  0:03 left\x1b[K");
  now_ += 0.05;  // too early for another
  progress.advance(32, 0.25);
  EXPECT_EQ(written(), "");
  now_ += 0.95;
  progress.advance(64, 0.125);
  EXPECT_EQ(written(), "\repoch 1/2  batch 3/4  loss 0.2500  64 images/s  0:01 left\x1b[K");
  progress.end();
  EXPECT_EQ(written(), "\r\x1b[K");
}

TEST_F(ProgressTest, WritesPlainLinesAtIntervalsElsewhere) {
  Progress progress(options(false));
  progress.begin("epoch 1/1", 3);
  now_ += 9.0;
  progress.advance(9);
  EXPECT_EQ(written(), "");
  now_ += 9.0;
  progress.advance(9);
  EXPECT_EQ(written(), "epoch 1/1  batch 2/3  1.0 images/s  0:09 left\n");
  progress.advance(9);
  progress.end();
  EXPECT_EQ(written(), "epoch 1/1  batch 3/3  1.5 images/s\n");
  progress.end();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, TimeLeftCountsAllStages) {
  Progress progress(options(false), 20);
  progress.begin("epoch 1/2", 10);
  for (int i = 0; i < 10; ++i) progress.advance(1);
  now_ += 10.0;
  progress.begin("epoch 2/2", 10);
  written();
  now_ += 14.0;
  progress.advance(1);  // 11 batches in 24 s, 9 to go
  EXPECT_THAT(written(), HasSubstr("0:20 left"));
}

TEST_F(ProgressTest, NotesStayAboveTheLine) {
  Progress progress(options(true));
  progress.begin("epoch 1/1", 2);
  written();
  progress.note("validation AUROC 0.71");
  EXPECT_EQ(written(), "\r\x1b[Kvalidation AUROC 0.71\n\repoch 1/1  batch 0/2\x1b[K");
}

TEST_F(ProgressTest, CutsTheLineWhereATerminalWouldWrapIt) {
  Progress progress(options(true));
  progress.begin(std::string(200, 'x'), 2);
  EXPECT_EQ(written(), "\r" + std::string(79, 'x') + "\x1b[K");
}

TEST_F(ProgressTest, QuietWritesNothing) {
  ProgressOptions quiet = options(true);
  quiet.quiet = true;
  {
    Progress progress(quiet);
    progress.begin("epoch 1/1", 1);
    now_ += 100.0;
    progress.advance(1, 0.5);
    progress.note("a note");
  }
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, FindsOutThatAFileIsNoTerminal) {
  ProgressOptions automatic = options(true);
  automatic.terminal.reset();
  Progress progress(automatic);
  progress.begin("epoch 1/1", 1);
  progress.end();
  EXPECT_THAT(written(), Not(HasSubstr("\r")));
}

TEST(FormatDuration, RoundsUp) {
  EXPECT_EQ(format_duration(0.0), "0:00");
  EXPECT_EQ(format_duration(41.2), "0:42");
  EXPECT_EQ(format_duration(725.0), "12:05");
  EXPECT_EQ(format_duration(10800.0), "3:00:00");
}

}  // namespace
}  // namespace medfusion::optim
