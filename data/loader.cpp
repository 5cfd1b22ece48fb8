#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "core/random.h"
#include "core/start_threads.h"
#include "core/uncached.h"
#include "data/image_groups.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;

constexpr uint64_t kShuffleKey =
    0x73687566666C6521U;  // keeps the order apart from other draws of the same seed

void check(const char* name, const Tensor& tensor, int64_t rows, DType dtype) {
  MEDFUSION_CHECK(
      !tensor.defined() || (tensor.rank() == 2 && tensor.size(0) == rows && tensor.dtype() == dtype),
      "loader: expected {} of {} [{}, *], got {} {}", name, name_of(dtype), rows, name_of(tensor.dtype()),
      tensor.shape().str());
}

// A batch under way.
struct Slot {
  Batch batch;
  int64_t unfinished = 0;    // images that still have to be prepared
  std::exception_ptr error;  // of the first row in the batch that failed
  int64_t error_position = INT64_MAX;
};

}  // namespace

Batch gather(const Batch& all, std::vector<int64_t> rows) {
  Batch source = all, result;
  const auto to = result.tensors();
  const auto count = static_cast<int64_t>(rows.size());
  for (size_t part = 0; part < to.size(); ++part) {
    Tensor& from = *source.tensors()[part];
    if (!from.defined()) continue;
    from = from.to_contiguous();
    core::Shape shape = from.shape();
    shape[0] = count;
    *to[part] = Tensor::empty(shape, from.dtype());
    const auto bytes = static_cast<size_t>(from.bytes() / std::max<int64_t>(1, from.size(0)));
    char* next = static_cast<char*>(to[part]->view().data);
    for (const int64_t row : rows) {
      std::memcpy(next, static_cast<const char*>(from.view().data) + static_cast<size_t>(row) * bytes, bytes);
      next += bytes;
    }
  }
  result.rows = std::move(rows);
  return result;
}

struct Loader::State {
  LoaderOptions options;
  std::shared_ptr<ImageSource> source;  // null where images are not read
  Batch all;                            // every row of the dataset, without its image
  std::vector<int64_t> rows;
  std::vector<int64_t> others;  // of each row of the dataset (data/image_groups.h); empty: none are read

  // One lock guards all that follows but the contents of a slot's tensors, of which each image belongs to one
  // worker.
  std::mutex mutex;
  std::condition_variable work_arrived, batch_ready;
  bool stopping = false;
  int64_t epoch = 0;
  std::vector<int64_t> order;               // of the epoch
  int64_t end = 0;                          // places of `order` to deliver
  int64_t opened = 0;                       // first place of `order` that has no slot yet
  int64_t position = 0;                     // image of the newest slot to prepare next
  std::deque<std::shared_ptr<Slot>> slots;  // oldest first; the front is the next batch
  std::vector<Tensor> cache;                // per row of the dataset: resized images
  int64_t cached_bytes = 0;
  std::vector<std::thread> threads;

  // An image to prepare.
  struct Task {
    std::shared_ptr<Slot> slot;
    int64_t position = 0;
    int64_t epoch = 0;
  };

  int64_t step() const { return options.whole_batches ? options.plan.ranks : 1; }  // from batch to batch
  Batch targets_alone() const;
  void open_slot();
  void fill(Batch& batch) const;
  bool take(Task& task);
  void finish(const Task& task, std::exception_ptr error);
  void run(const Task& task);
  void prepare(const Task& task);
  bool prepare(int64_t row, int64_t of_epoch, const Tensor& out);
  Tensor resized(int64_t row);
  void work();
  void stop();
};

Batch Loader::State::targets_alone() const {
  Batch result;
  result.targets = all.targets;
  return result;
}

// Makes the batch of the next rows of the order, all but its pixels. Call with the lock held.
void Loader::State::open_slot() {
  slots.push_back(std::make_shared<Slot>());
  Slot& slot = *slots.back();
  const int64_t last = std::min(end, opened + options.batch_size);
  slot.batch.rows.assign(order.begin() + opened, order.begin() + last);
  opened = std::min(end, opened + step() * options.batch_size);
  const core::RowRange own = options.plan.own_rows(slot.batch.size());
  position = 0;
  try {
    if (options.plan.ranks > 1 && !options.whole_batches) {
      slot.batch.whole_targets = gather(targets_alone(), slot.batch.rows).targets;
      slot.batch.rows = {slot.batch.rows.begin() + own.first, slot.batch.rows.begin() + own.last};
    }
    fill(slot.batch);
    slot.unfinished = source != nullptr ? slot.batch.size() : 0;
  } catch (...) {
    slot.error = std::current_exception();
    position = slot.batch.size();
  }
}

// All of a batch but its pixels.
void Loader::State::fill(Batch& batch) const {
  Tensor whole_targets = std::move(batch.whole_targets);
  batch = gather(all, std::move(batch.rows));
  batch.whole_targets = std::move(whole_targets);
  const auto count = static_cast<int64_t>(batch.rows.size());
  batch.image_present = Tensor::zeros({count}, DType::boolean);
  if (source != nullptr) {
    batch.images = Tensor::empty({count, options.format.size, options.format.size, options.format.channels});
    if (!others.empty()) {
      batch.other_images = Tensor::empty(batch.images.shape());
      batch.other_present = Tensor::zeros({count}, DType::boolean);
    }
  }
}

// Hands out the next image, opening a batch where there is room for one. Call with the lock held.
bool Loader::State::take(Task& task) {
  while (slots.empty() || position >= slots.back()->batch.size()) {
    if (opened >= end || static_cast<int64_t>(slots.size()) > options.prefetch) return false;
    open_slot();
  }
  task = {slots.back(), position++, epoch};
  return true;
}

void Loader::State::finish(const Task& task, std::exception_ptr error) {
  const std::lock_guard lock(mutex);
  if (error != nullptr && task.position < task.slot->error_position) {
    task.slot->error = std::move(error);
    task.slot->error_position = task.position;
  }
  if (--task.slot->unfinished == 0) batch_ready.notify_all();
}

void Loader::State::run(const Task& task) {
  std::exception_ptr error;
  try {
    prepare(task);
  } catch (...) {
    error = std::current_exception();
  }
  finish(task, std::move(error));
}

// The image of a row as it is before augmentation: in [0, 1], [size, size, 1 or 3].
Tensor Loader::State::resized(int64_t row) {
  if (const Tensor pixels = source->packed(row); pixels.defined())
    return to_unit_range(pixels, options.format.channels);
  Tensor& entry = cache[static_cast<size_t>(row)];
  {
    const std::lock_guard lock(mutex);
    if (entry.defined()) return entry;
  }
  const core::UncachedMemory of_the_original;
  const Tensor image = resized_image(source->read(row), options.format);
  const std::lock_guard lock(mutex);
  if (!entry.defined() && cached_bytes + image.bytes() <= options.cache_bytes) {
    entry = image;
    cached_bytes += image.bytes();
  }
  return image;
}

void Loader::State::prepare(const Task& task) {
  Batch& batch = task.slot->batch;
  const int64_t at = task.position, row = batch.rows[static_cast<size_t>(at)];
  batch.image_present.data<bool>()[at] = prepare(row, task.epoch, batch.images.slice(0, at, at + 1));
  if (others.empty()) return;
  const Tensor out = batch.other_images.slice(0, at, at + 1);
  batch.other_present.data<bool>()[at] = prepare(others[static_cast<size_t>(row)], task.epoch, out);
}

// The image of a row, zeros where it has none or the row is -1. Whether it has one.
bool Loader::State::prepare(int64_t row, int64_t of_epoch, const Tensor& out) {
  if (row < 0 || !source->present(row)) {
    out.fill(0.0);
    return false;
  }
  Tensor image = resized(row);
  if (options.augment)
    image = augment(image, draw_augmentation(*options.augment, options.seed, of_epoch, row));
  normalize(image, options.format, out);
  return true;
}

void Loader::State::work() {
  std::unique_lock lock(mutex);
  while (true) {
    Task task;
    work_arrived.wait(lock, [&] { return stopping || take(task); });
    if (stopping) return;
    lock.unlock();
    run(task);
    task.slot.reset();
    lock.lock();
  }
}

void Loader::State::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  work_arrived.notify_all();
  for (std::thread& thread : threads) thread.join();
}

Loader::Loader(const Dataset& dataset, std::vector<int64_t> rows, Batch encoded, LoaderOptions options)
    : state_(std::make_unique<State>()) {
  check(options.format);
  if (options.augment) core::check_ranges(*options.augment, "augmentation");
  MEDFUSION_CHECK(options.batch_size > 0, "loader: expected a positive batch size, got {}",
                  options.batch_size);
  MEDFUSION_CHECK(options.workers >= 0, "loader: expected a number of workers, got {}", options.workers);
  MEDFUSION_CHECK(options.prefetch >= 1, "loader: expected to prefetch at least 1 batch, got {}",
                  options.prefetch);
  const core::Table& table = encoded.table;
  MEDFUSION_CHECK(table.values.defined() == table.missing.defined() &&
                      (!table.values.defined() || table.values.shape() == table.missing.shape()),
                  "loader: expected the table and its missing cells in one shape");
  MEDFUSION_CHECK(
      !table.bins.defined() || (table.values.defined() && table.values.shape() == table.bins.shape()),
      "loader: expected the table's bins in its shape");
  const int64_t count = dataset.size();
  for (const int64_t row : rows) {
    MEDFUSION_CHECK(row >= 0 && row < count, "loader: row {} of a dataset of {} rows", row, count);
  }
  State& s = *state_;
  check("targets", dataset.targets, count, DType::f32);
  check("a table", table.values, count, DType::f32);
  check("missing cells", table.missing, count, DType::boolean);
  check("bins", table.bins, count, DType::i64);
  check("text", encoded.text, count, DType::i64);
  s.all = std::move(encoded);
  s.all.targets = dataset.targets;
  s.options = std::move(options);
  s.rows = std::move(rows);
  if (s.options.use_images && dataset.images != nullptr) {
    s.source = dataset.images;
    s.cache.resize(static_cast<size_t>(count));
    s.others = other_images_of(dataset);
  }
  const int workers = s.source == nullptr ? 0 : s.options.workers;
  s.threads = core::start_threads(workers, [&s] { s.work(); });  // without any, next() does the work
}

Loader::~Loader() { state_->stop(); }

int64_t Loader::rows() const { return static_cast<int64_t>(state_->rows.size()); }

int64_t Loader::batches() const {
  const int64_t size = state_->options.batch_size;
  return state_->options.drop_last ? rows() / size : (rows() + size - 1) / size;
}

int64_t Loader::batch_size() const { return state_->options.batch_size; }

const core::ShardPlan& Loader::plan() const { return state_->options.plan; }

bool Loader::is_divided() const { return state_->step() > 1; }

void Loader::begin_epoch(int64_t epoch, int64_t first) {
  State& s = *state_;
  MEDFUSION_CHECK(first >= 0 && first <= batches(), "loader: batch {} of an epoch of {}", first, batches());
  {
    const std::lock_guard lock(s.mutex);
    s.slots.clear();  // workers still busy with an old batch hold it themselves
    s.epoch = epoch;
    s.order = s.rows;
    if (s.options.shuffle) {
      core::Generator(s.options.seed ^ kShuffleKey, static_cast<uint64_t>(epoch)).shuffle(s.order);
    }
    s.end = s.options.drop_last ? batches() * s.options.batch_size : rows();
    const int64_t skipped = s.options.whole_batches ? s.options.plan.rank : 0;
    s.opened = std::min(s.end, (first + skipped) * s.options.batch_size);
    s.position = 0;
  }
  s.work_arrived.notify_all();
}

bool Loader::next(Batch& batch) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  if (s.slots.empty()) {
    if (s.opened >= s.end) return false;
    s.open_slot();
    s.work_arrived.notify_all();
  }
  const std::shared_ptr<Slot> slot = s.slots.front();
  if (s.threads.empty() && s.source != nullptr) {
    lock.unlock();
    for (int64_t i = 0; slot->unfinished > 0; ++i) s.run({slot, i, s.epoch});
    lock.lock();
  }
  s.batch_ready.wait(lock, [&] { return slot->unfinished == 0; });
  s.slots.pop_front();
  if (slot->error != nullptr) {
    s.slots.clear();
    s.opened = s.end;
    std::rethrow_exception(std::move(slot->error));  // out of the slot, which a worker may still let go of
  }
  lock.unlock();
  s.work_arrived.notify_all();
  batch = std::move(slot->batch);
  return true;
}

}  // namespace medfusion::data
