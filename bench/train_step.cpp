// Times whole training steps (forward, loss, backward, AdamW) or inference of one network on random data.
//   train_step --model densenet121 --size 224 --batch 16 --threads 2 --steps 5 --json
// Models: densenet121, densenet-small, densenet-tiny, medfusionnet-densenet121, medfusionnet-small,
// medfusionnet-tiny.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/random.h"
#include "core/threads.h"
#include "layers/functional/loss.h"
#include "models/network.h"
#include "optim/optimizer.h"

namespace {

using namespace medfusion;
using core::Tensor;

struct Options {
  std::string model = "densenet121";
  int64_t size = 224, batch = 16, channels = 3, labels = 14;
  int threads = 2, steps = 5, warmup = 1;
  bool inference = false, json = false;
};

models::NetworkOptions network_options(const Options& options) {
  models::NetworkOptions network;
  const std::string fused = "medfusionnet-";
  if (options.model.rfind(fused, 0) == 0) {
    network.name = "medfusionnet";
    network.size = options.model.substr(fused.size());
  } else {
    network.name = "densenet";
    network.size = options.model == "densenet121" ? options.model
                                                  : options.model.substr(std::string("densenet-").size());
  }
  network.image_channels = options.channels;
  network.labels = options.labels;
  return network;
}

Tensor random_tensor(const core::Shape& shape, uint64_t stream, bool binary) {
  Tensor result = Tensor::empty(shape);
  const core::Philox philox(1, stream);
  for (int64_t i = 0; i < result.numel(); ++i) {
    const float value = philox.uniform(static_cast<uint64_t>(i));
    result.data<float>()[i] = binary ? (value < 0.3F ? 1.0F : 0.0F) : 2.0F * value - 1.0F;
  }
  return result;
}

std::vector<double> time_steps(const Options& options) {
  const auto network = models::make_network(network_options(options));
  network->initialize(1);
  optim::AdamW optimizer(network->parameters(), {});
  models::Inputs inputs;
  inputs.images = random_tensor({options.batch, options.size, options.size, options.channels}, 1, false);
  const Tensor targets = random_tensor({options.batch, options.labels}, 2, true);
  std::vector<double> seconds;
  for (int step = -options.warmup; step < options.steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    layers::Context context{!options.inference, 1, static_cast<uint64_t>(step + options.warmup) << 20};
    if (options.inference) {
      const core::NoGradGuard no_gradients;
      network->forward(inputs, context);
    } else {
      optimizer.zero_grad();
      layers::multilabel_loss(network->forward(inputs, context), targets, {}).backward();
      optimizer.step(1e-4, 1.0);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (step >= 0) seconds.push_back(elapsed.count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Times training steps or inference of one network");
  app.add_option("--model", options.model, "the network")->capture_default_str();
  app.add_option("--size", options.size, "image height and width")->capture_default_str();
  app.add_option("--batch", options.batch, "images per step")->capture_default_str();
  app.add_option("--channels", options.channels, "image channels")->capture_default_str();
  app.add_option("--labels", options.labels, "outputs")->capture_default_str();
  app.add_option("--threads", options.threads, "threads")->capture_default_str();
  app.add_option("--steps", options.steps, "timed steps")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "steps before the clock starts")->capture_default_str();
  app.add_flag("--inference", options.inference, "forward in evaluation mode instead of training steps");
  app.add_flag("--json", options.json, "one JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    core::set_num_threads(options.threads);
    const std::vector<double> seconds = time_steps(options);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    nlohmann::ordered_json report;
    report["model"] = options.model;
    report["mode"] = options.inference ? "inference" : "training";
    report["median_s"] = seconds[seconds.size() / 2];
    report["min_s"] = seconds.front();
    report["max_s"] = seconds.back();
    report["images_per_s"] = static_cast<double>(options.batch) / seconds[seconds.size() / 2];
    report["peak_rss_bytes"] = static_cast<int64_t>(usage.ru_maxrss) * 1024;
    report["peak_bytes"] = core::allocator().counters().peak;
    if (options.json) {
      fmt::print("{}\n", report.dump());
    } else {
      fmt::print(
          "{} {}: {:.3f} s per step of {} ({:.3f} to {:.3f}), {:.2f} images/s, peak {:.2f} GB ({:.2f} GB of "
          "tensors)\n",
          options.model, report["mode"].get<std::string>(), seconds[seconds.size() / 2], options.batch,
          seconds.front(), seconds.back(), report["images_per_s"].get<double>(),
          static_cast<double>(usage.ru_maxrss) / 1e6,
          static_cast<double>(core::allocator().counters().peak) / 1e9);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_step: {}\n", error.what());
    return 1;
  }
  return 0;
}
