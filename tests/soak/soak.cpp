// soak data: writes a table, with or without images, of any size.
// soak once: trains one time, and says how much memory and time that took.
// soak run: trains, evaluates and predicts in a loop in one process, as the program does, and watches what
// the process holds: memory, tensors and open files. tools/soak.sh calls them.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/random.h"
#include "data/images/image.h"
#include "tools/medfusion/commands/common.h"

namespace medfusion::tools {
namespace {

using Clock = std::chrono::steady_clock;

struct DataOptions {
  std::string folder;
  int64_t rows = 96;
  std::pair<int64_t, int64_t> size = {0, 0};  // least and greatest height and width of an image; 0: no images
};

// data.csv and images/ in the folder. Two labels, of which the table, the text and the image's brightness
// tell something; three rows of each patient; numbers, words and gaps.
void make_data(const DataOptions& options) {
  namespace fs = std::filesystem;
  const bool has_images = options.size.second > 0;
  fs::create_directories(fs::path(options.folder) / "images");
  std::ofstream table(fs::path(options.folder) / "data.csv");
  table << (has_images ? "id,image,patient,age,sex,pressure,ward,note,ill,old\n"
                       : "id,patient,age,sex,pressure,ward,note,ill,old\n");
  for (int64_t row = 0; row < options.rows; ++row) {
    core::Generator random(1, static_cast<uint64_t>(row));
    const int64_t age = 20 + random.below(70);
    const bool is_ill = random.uniform() < 0.3F;
    table << row << ',';
    if (has_images) {
      const std::string name = fmt::format("{:07}.png", row);
      const int64_t low = options.size.first, span = options.size.second - low + 1;
      const core::Tensor pixels =
          core::Tensor::empty({low + random.below(span), low + random.below(span), 1}, core::DType::u8);
      for (int64_t i = 0; i < pixels.numel(); ++i)
        pixels.data<uint8_t>()[i] = static_cast<uint8_t>(random.below(200) + (is_ill ? 50 : 0));
      data::write_png(fs::path(options.folder) / "images" / name, pixels);
      table << name << ',';
    }
    const std::string pressure =
        random.below(10) == 0 ? "" : fmt::format("{:.1f}", random.uniform(60, 90) + (is_ill ? 10 : 0));
    table << fmt::format("p{},{},{},{},ward {},{},{},{}\n", row / 3, age, random.below(2) == 0 ? "M" : "F",
                         pressure, random.below(12),
                         is_ill && random.below(2) == 0 ? "cough and fever" : "no complaint", is_ill ? 1 : 0,
                         age > 60 ? 1 : 0);
  }
  if (!table.flush()) throw std::runtime_error(options.folder + "/data.csv: cannot be written");
}

struct OnceOptions {
  std::string config, run;
  int64_t most = 0;  // MiB of resident memory that it may take
};

// The exit code: 1 where training took more memory.
int train_once(const OnceOptions& options) {
  const auto start = Clock::now();
  const int code = run_program({"train", options.config, "--out", options.run, "--force", "--quiet"});
  if (code != 0) return code;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const int64_t megabytes = usage.ru_maxrss >> 10;
  fmt::print("{:.1f} s, at most {} MiB of resident memory (limit: {} MiB)\n",
             std::chrono::duration<double>(Clock::now() - start).count(), megabytes, options.most);
  return megabytes > options.most ? 1 : 0;
}

struct SoakOptions {
  std::string config;  // of the trainings
  std::string run;     // the run directory, replaced again and again
  std::string images;  // a folder of images to predict
  std::string device = "cpu";
  double minutes = 60.0;
  double warm_up = 1.0;      // minutes; what is held by then may be held later
  std::string plant = "no";  // a leak, to see that it is found
};

// What the process holds at one moment. The allocator's bytes are those of cpu and device together.
struct Sample {
  double minute = 0.0;
  int64_t round = 0;     // counted from 1
  int64_t resident = 0;  // bytes
  int64_t live = 0, reserved = 0;
  int64_t descriptors = 0;
};

int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6)) << 10;
  }
  throw std::runtime_error("/proc/self/status: no VmRSS");
}

Sample take_sample(double minute, int64_t round, const core::Device& device) {
  Sample sample{minute, round, resident_bytes()};
  core::MemoryCounters counters = core::allocator().counters();
  sample.live = counters.live;
  sample.reserved = counters.reserved;
  if (device != core::Device{}) {
    counters = core::allocator(device).counters();
    sample.live += counters.live;
    sample.reserved += counters.reserved;
  }
  const std::filesystem::directory_iterator open("/proc/self/fd");
  sample.descriptors = std::distance(begin(open), end(open)) - 1;  // but the one that lists them
  return sample;
}

class Soak {
 public:
  explicit Soak(const SoakOptions& options)
      : options_(options), device_(core::parse_device(options.device).value()) {}

  // The exit code: 0 where nothing grew.
  int run() {
    std::thread watcher([this] { watch(); });
    int failed = 0;
    while (failed == 0 && minute() < options_.minutes) failed = round();
    over_ = true;
    watcher.join();
    if (failed != 0) {
      fmt::print(stderr, "soak: round {} ended with exit code {}\n", rounds_ + 1, failed);
      return failed;
    }
    return conclude();
  }

 private:
  double minute() const { return std::chrono::duration<double>(Clock::now() - start_).count() / 60.0; }

  // One training with evaluation, and what follows it; the exit code of what failed.
  int round() {
    const std::vector<std::string> common = {"--quiet", "--device", options_.device};
    const std::string csv = options_.run + ".csv";
    for (std::vector<std::string> command :
         {std::vector<std::string>{"train", options_.config, "--out", options_.run, "--force"},
          {"eval", options_.run},
          {"predict", options_.run, "--images", options_.images, "--out", csv}}) {
      command.insert(command.end(), common.begin(), common.end());
      if (const int code = run_program(command); code != 0) return code;
    }
    if (options_.plant == "memory") new std::string(1 << 20, 'x');
    if (options_.plant == "tensor") new core::Tensor(core::Tensor::zeros({64}));
    if (options_.plant == "descriptor") std::fopen("/dev/null", "r");
    ++rounds_;
    const std::lock_guard lock(mutex_);
    between_.push_back(take_sample(minute(), rounds_, device_));
    return 0;
  }

  void watch() {
    for (int count = 0; !over_; ++count) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      const Sample sample = take_sample(minute(), rounds_, device_);
      const std::lock_guard lock(mutex_);
      during_.push_back(sample);
      if (count % 5 == 0) print(sample);
    }
  }

  void print(const Sample& sample) const {
    fmt::print(
        "{:6.2f} min  round {:4}  resident {:7} KiB  allocator live {:7} KiB, reserved {:7} KiB  {} files\n",
        sample.minute, sample.round, sample.resident >> 10, sample.live >> 10, sample.reserved >> 10,
        sample.descriptors);
    std::fflush(stdout);
  }

  // The most of `field` in samples up to the end of the warm-up, and after it.
  std::pair<int64_t, int64_t> most(const std::vector<Sample>& samples, int64_t Sample::*field) const {
    std::pair<int64_t, int64_t> result;
    for (const Sample& sample : samples) {
      int64_t& part = sample.minute <= options_.warm_up ? result.first : result.second;
      part = std::max(part, sample.*field);
    }
    return result;
  }

  // Over the samples between two moments, as shares of the time after the warm-up, in KiB.
  double mean_resident(const std::vector<Sample>& samples, double from, double to) const {
    const double span = during_.back().minute - options_.warm_up;
    double sum = 0.0, count = 0.0;
    for (const Sample& sample : samples) {
      const double share = (sample.minute - options_.warm_up) / span;
      if (share <= from || share > to) continue;
      sum += static_cast<double>(sample.resident) / 1024.0;
      ++count;
    }
    return sum / count;
  }

  // Whether resident memory grew by 1 % or more: the mean over the last fifth against that over the first. A
  // single sample may be higher, where several images happen to be decoded at once.
  bool has_grown(const char* when, const std::vector<Sample>& samples) const {
    const double first = mean_resident(samples, 0.0, 0.2), last = mean_resident(samples, 0.8, 1.0);
    const double percent = 100.0 * (last / first - 1.0);
    const auto [most_before, most_after] = most(samples, &Sample::resident);
    fmt::print(
        "  resident memory {} rounds: {:.0f} KiB in the last fifth, {:.0f} KiB in the first: {:+.2f} %", when,
        last, first, percent);
    fmt::print(" (most {} KiB, in the warm-up {} KiB)\n", most_after >> 10, most_before >> 10);
    return !(percent < 1.0);  // a mean over nothing counts as grown
  }

  int conclude() const {
    const auto [live, later_live] = most(between_, &Sample::live);
    const auto [descriptors, later_descriptors] = most(between_, &Sample::descriptors);
    fmt::print("{} rounds in {:.1f} minutes; after the first {} minutes:\n", rounds_.load(),
               during_.back().minute, options_.warm_up);
    const bool resident = has_grown("between", between_), busy = has_grown("during", during_);
    fmt::print("  tensors between rounds: {} bytes, before {}\n", later_live, live);
    fmt::print("  open files between rounds: {}, before {}\n", later_descriptors, descriptors);
    const bool grew = resident || busy || later_live > live || later_descriptors > descriptors;
    fmt::print("{}\n", grew ? "GREW" : "flat");
    return grew ? 1 : 0;
  }

  const SoakOptions& options_;
  const core::Device device_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<int64_t> rounds_ = 0;
  std::atomic<bool> over_ = false;
  std::mutex mutex_;                      // guards the samples
  std::vector<Sample> during_, between_;  // every second, and at the ends of rounds
};

}  // namespace
}  // namespace medfusion::tools

int main(int argc, char** argv) {
  using namespace medfusion::tools;
  CLI::App program("Checks that take long: data of any size, and training in a loop", "soak");
  program.require_subcommand(1);
  DataOptions data;
  CLI::App& make = *program.add_subcommand("data", "Write data.csv and images/");
  make.add_option("folder", data.folder, "Folder to write")->required();
  make.add_option("--rows", data.rows, "Rows of the table");
  make.add_option("--size", data.size, "Least and greatest side of an image in pixels; without it no images");
  OnceOptions once;
  CLI::App& single = *program.add_subcommand("once", "Train one time; exit code 1: it took too much memory");
  single.add_option("config", once.config, "Configuration of the training")->required();
  single.add_option("run", once.run, "Run directory to write")->required();
  single.add_option("--most", once.most, "MiB of resident memory that it may take")->required();
  SoakOptions options;
  CLI::App& run = *program.add_subcommand("run", "Train in a loop; exit code 1: what the process holds grew");
  run.add_option("config", options.config, "Configuration of the trainings")->required();
  run.add_option("run", options.run, "Run directory to write again and again")->required();
  run.add_option("images", options.images, "Folder of images to predict")->required();
  run.add_option("--device", options.device, "cpu or sim")->check(CLI::IsMember({"cpu", "sim"}));
  run.add_option("--minutes", options.minutes, "How long to run");
  run.add_option("--warm-up", options.warm_up, "Minutes after which nothing may grow");
  run.add_option("--plant", options.plant, "A leak in every round, to see that it is found")
      ->check(CLI::IsMember({"no", "memory", "tensor", "descriptor"}));
  CLI11_PARSE(program, argc, argv);
  try {
    if (make.parsed()) {
      make_data(data);
      return 0;
    }
    return single.parsed() ? train_once(once) : Soak(options).run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "soak: {}\n", error.what());
    return 1;
  }
}
