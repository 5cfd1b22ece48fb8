// Times whole training steps (staging, forward, loss, backward, AdamW: optim::TrainingStep) or inference of
// one network on random data.
//   train_step --model densenet121 --size 224 --batch 16 --threads 2 --steps 5 --json
//   train_step --model medfusionnet-densenet121 --batch 64 --device cuda --precision bf16
//   mpirun -n 2 train_step --threads 1 --shards 2 --json     each rank computes its shards of the batch
// Models: densenet121, densenet-small, densenet-tiny, medfusionnet-densenet121, medfusionnet-small,
// medfusionnet-tiny, and the published networks of models/backbone.h. MedFusionNet gets a table of 4 features
// and a text of 8 words beside the image.
#include <sys/resource.h>

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/communicator.h"
#include "core/random.h"
#include "core/runtime.h"
#include "core/threads.h"
#include "data/statistics/samples.h"
#include "models/network.h"
#include "optim/optimizer.h"
#include "optim/predict.h"
#include "optim/step.h"

namespace {

using namespace medfusion;
using core::DType;
using core::Tensor;
using Clock = std::chrono::steady_clock;

constexpr int64_t kFeatures = 4, kWords = 8, kVocabulary = 64;  // as in bench/peers/steps_torch.py

struct Options {
  std::string model = "densenet121", device = "cpu", precision = "f32";
  int64_t size = 224, batch = 16, channels = 3, labels = 14;
  int64_t shards = 1;
  double bucket_mib = 4.0;
  core::Communicator* ranks = nullptr;     // null: there is one
  int threads = 2, steps = 5, warmup = 3;  // a step as it is, one that is captured, one that is replayed
  bool inference = false, json = false, graph = true;

  bool fused() const { return model.rfind("medfusionnet-", 0) == 0; }
  optim::Precision products() const {
    return precision == "bf16"   ? optim::Precision::bf16
           : precision == "tf32" ? optim::Precision::tf32
                                 : optim::Precision::f32;
  }
};

models::NetworkOptions network_options(const Options& options, core::Device device) {
  models::NetworkOptions network;
  const size_t dash = options.model.find('-');
  const bool published = std::ranges::find(models::kBackbones, options.model) != models::kBackbones.end();
  if (!published && options.model != "densenet121" && !options.model.starts_with("densenet-") &&
      !options.model.starts_with("medfusionnet-")) {
    core::throw_input_error({},
                            "--model: expected densenet121, densenet-SIZE, medfusionnet-SIZE or {}, got '{}'",
                            fmt::join(models::kBackbones, ", "), options.model);
  }
  if (!published) network.size = options.model.substr(dash == std::string::npos ? 0 : dash + 1);
  if (options.fused()) {
    network.name = "medfusionnet";
    network.table_features = kFeatures;
    network.vocabulary = kVocabulary;
    network.text_length = kWords;
  } else {
    network.name = published ? options.model : "densenet";
  }
  network.image_channels = options.channels;
  network.labels = options.labels;
  network.device = device;
  network.dropout = network.modality_dropout = 0.0;
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

core::Batch random_batch(const Options& options) {
  core::Batch batch;
  batch.images = random_tensor({options.batch, options.size, options.size, options.channels}, 1, false);
  batch.targets = random_tensor({options.batch, options.labels}, 2, true);
  for (int64_t i = 0; i < options.batch; ++i) batch.rows.push_back(i);
  if (!options.fused()) return batch;
  batch.table.values = random_tensor({options.batch, kFeatures}, 3, false);
  batch.text = Tensor::empty({options.batch, kWords}, DType::i64);
  for (int64_t i = 0; i < batch.text.numel(); ++i) batch.text.data<int64_t>()[i] = 1 + i % (kVocabulary - 1);
  return batch;
}

// The rows of the batch that are this rank's.
core::Batch own_part(const Options& options) {
  core::Batch batch = random_batch(options);
  if (options.ranks == nullptr) return batch;
  const core::ShardPlan plan{options.shards, options.ranks->rank(), options.ranks->size()};
  const core::RowRange own = plan.own_rows(options.batch);
  batch.whole_targets = batch.targets;
  for (Tensor* const tensor : batch.tensors()) {
    if (tensor->defined()) *tensor = tensor->slice(0, own.first, own.last).clone();
  }
  batch.rows = {batch.rows.begin() + own.first, batch.rows.begin() + own.last};
  return batch;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// After the warm-up, as bench/peers/steps_torch.py does: what only that needed does not count. The step that
// follows allocates again what was cached and is not timed.
void count_memory_anew(core::Device device) {
  core::allocator(device).release_cached();
  core::allocator(device).reset_peak();
}

// As the training loop runs them: while a step computes, the next batch is staged.
std::vector<double> time_training(models::Network& network, const Options& options) {
  const core::Batch batch = own_part(options);
  optim::AdamW optimizer(network.parameters(), {.weight_decay = 0.01});
  optim::TrainingStep step(network, optimizer, nullptr,
                           {.loss = {},
                            .clip_norm = 0.0,
                            .seed = 1,
                            .precision = options.products(),
                            .graph = options.graph,
                            .shards = options.shards,
                            .bucket_bytes = static_cast<int64_t>(options.bucket_mib * (1 << 20))},
                           options.ranks);
  std::vector<double> seconds;
  step.stage(batch, 0);
  for (int number = 0; number <= options.warmup + options.steps; ++number) {
    if (number == options.warmup) count_memory_anew(network.device());
    const auto start = Clock::now();
    step.start(1e-4);
    step.stage(batch, number + 1);
    step.finish();
    if (number > options.warmup) seconds.push_back(seconds_since(start));
  }
  return seconds;
}

// With the batch on the device.
std::vector<double> time_inference(models::Network& network, const Options& options) {
  const core::NoGradGuard no_gradients;
  layers::Context context{.precision = options.products()};
  const models::Prepared batch = network.prepare(random_batch(options), context).to(network.device());
  std::vector<double> seconds;
  for (int number = 0; number <= options.warmup + options.steps; ++number) {
    if (number == options.warmup) count_memory_anew(network.device());
    const auto start = Clock::now();
    network.forward(batch, context).value().to(core::Device{});
    if (number > options.warmup) seconds.push_back(seconds_since(start));
  }
  return seconds;
}

nlohmann::ordered_json measure(const Options& options) {
  const core::Device device = core::parse_device(options.device).value();
  core::runtime(device);  // says why there is none
  if (options.inference && options.products() == optim::Precision::bf16)
    throw core::InputError("--inference: expected --precision f32 or tf32; evaluation runs in f32");
  const auto network = models::make_network(network_options(options, device));
  network->initialize(1);
  std::vector<double> seconds =
      options.inference ? time_inference(*network, options) : time_training(*network, options);
  std::sort(seconds.begin(), seconds.end());
  const double median = data::median(seconds);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  nlohmann::ordered_json report;
  report["model"] = options.model;
  report["mode"] = options.inference ? "inference" : "training";
  report["device"] = options.device;
  report["precision"] = options.precision;
  report["median_s"] = median;
  report["min_s"] = seconds.front();
  report["max_s"] = seconds.back();
  report["images_per_s"] = static_cast<double>(options.batch) / median;
  report["peak_rss_bytes"] = static_cast<int64_t>(usage.ru_maxrss) * 1024;
  // By the device's allocator, since the warm-up: the most that tensors took at once, and that was held for
  // them.
  const core::MemoryCounters memory = core::allocator(device).counters();
  report["peak_bytes"] = memory.peak;
  if (options.ranks != nullptr) {
    report["ranks"] = options.ranks->size();
    report["bytes_sent_per_step"] = options.ranks->bytes_sent() / (options.warmup + options.steps + 1);
  }
  report["reserved_bytes"] = memory.peak_reserved;
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Times training steps or inference of one network");
  app.add_option("--model", options.model, "the network")->capture_default_str();
  app.add_option("--device", options.device, "where it runs")
      ->check(CLI::IsMember({"cpu", "cuda", "sim"}))
      ->capture_default_str();
  app.add_option("--precision", options.precision, "of a training step; cpu: f32; inference: f32 or tf32")
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--size", options.size, "image height and width")->capture_default_str();
  app.add_option("--batch", options.batch, "images per step")->capture_default_str();
  app.add_option("--channels", options.channels, "image channels")->capture_default_str();
  app.add_option("--labels", options.labels, "outputs")->capture_default_str();
  app.add_option("--threads", options.threads, "threads")->capture_default_str();
  app.add_option("--shards", options.shards, "parts of the batch that are computed each on its own")
      ->capture_default_str();
  app.add_option(
         "--bucket-mib", options.bucket_mib,
         "ranks exchange gradients in buckets of so many MiB while the backward pass goes on; with as many "
         "as there are, after it")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", options.steps, "timed steps")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup,
                 "steps before memory is counted; one more comes before the clock starts")
      ->capture_default_str();
  app.add_flag("--inference", options.inference, "forward in evaluation mode instead of training steps");
  app.add_flag("!--no-graph", options.graph, "queue every kernel of a step anew");
  app.add_flag("--json", options.json, "one JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    core::set_num_threads(options.threads);
    if (core::launched_by_mpi() && core::mpi_communicator().size() > 1)
      options.ranks = &core::mpi_communicator();
    const nlohmann::ordered_json report = measure(options);
    if (options.ranks != nullptr && options.ranks->rank() > 0) return 0;
    if (options.json) {
      fmt::print("{}\n", report.dump());
    } else {
      fmt::print(
          "{} {}: {:.4f} s per step of {} ({:.4f} to {:.4f}), {:.2f} images/s, peak {:.2f} GB ({:.2f} GB of "
          "tensors, {:.2f} GB held for them)\n",
          options.model, report["mode"].get<std::string>(), report["median_s"].get<double>(), options.batch,
          report["min_s"].get<double>(), report["max_s"].get<double>(), report["images_per_s"].get<double>(),
          report["peak_rss_bytes"].get<double>() / 1e9, report["peak_bytes"].get<double>() / 1e9,
          report["reserved_bytes"].get<double>() / 1e9);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_step: {}\n", error.what());
    return dynamic_cast<const core::InputError*>(&error) != nullptr ? 2 : 1;
  }
  return 0;
}
