// Times epochs of the loader alone, without a network: from image files, or from a pack of them.
//   medfusion synth --out phantom --images 20000 --size 64
//   medfusion pack phantom --set data.round_pixels=true --out phantom/pack.safetensors
//   loader_epoch --root phantom --size 64 --pack pack.safetensors --threads 2 --epochs 3
// Prints images per second, of wall time and of processor time, for each epoch; --augment changes the images
// as training does by default.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <numeric>

#include "core/threads.h"
#include "data/loader.h"
#include "data/open.h"

namespace {

using namespace medfusion;

struct Options {
  std::string root, pack;
  int64_t size = 64, channels = 1, batch = 32, epochs = 3;
  int threads = 2;
  bool augment = false;
};

data::DataOptions data_options(const Options& options) {
  data::DataOptions result;
  result.format = data::DataFormat::phantom;
  result.root = options.root;
  result.image.size = options.size;
  result.image.channels = options.channels;
  result.image.round_pixels = true;
  result.pack = options.pack;
  result.guard.duplicates = data::DuplicateRule::never;
  return result;
}

double processor_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

void run(const Options& options) {
  core::set_num_threads(options.threads);
  const data::DataOptions from = data_options(options);
  const data::Dataset dataset = data::open_dataset(from);
  std::vector<int64_t> rows(static_cast<size_t>(dataset.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  data::LoaderOptions loading;
  loading.format = from.image;
  loading.batch_size = options.batch;
  loading.shuffle = true;
  if (options.augment) loading.augment.emplace();
  loading.workers = options.threads;
  data::Loader loader(dataset, rows, core::Batch{}, loading);
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    const double before = processor_seconds();
    loader.begin_epoch(epoch);
    int64_t images = 0;
    for (core::Batch batch; loader.next(batch);) images += batch.size();
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double used = processor_seconds() - before;
    const auto count = static_cast<double>(images);
    fmt::print("epoch {}: {} images, {:.0f} images/s, {:.0f} per second of a processor\n", epoch, images,
               count / wall, count / used);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App program("Times epochs of the loader alone.");
  Options options;
  program.add_option("--root", options.root, "Folder that medfusion synth wrote")->required();
  program.add_option("--pack", options.pack, "Pack of it; without one the image files are decoded");
  program.add_option("--size", options.size, "Height and width of the images")->capture_default_str();
  program.add_option("--channels", options.channels, "1 or 3")->capture_default_str();
  program.add_option("--batch", options.batch, "Images of a batch")->capture_default_str();
  program.add_option("--epochs", options.epochs, "Epochs")->capture_default_str();
  program.add_option("--threads", options.threads, "Worker threads")->capture_default_str();
  program.add_flag("--augment", options.augment, "Change images as training does");
  CLI11_PARSE(program, argc, argv);
  try {
    run(options);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "loader_epoch: {}\n", error.what());
    return 1;
  }
}
