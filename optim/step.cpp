#include "optim/step.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "layers/functional/elementwise.h"
#include "optim/freeze.h"
#include "optim/lockstep.h"
#include "optim/predict.h"
#include "optim/trace.h"

namespace medfusion::optim {

using core::DType;
using core::Tensor;
using core::Variable;

constexpr int64_t kScalarBytes = 8;  // i64 or f64

namespace {

bool same_shapes(const std::vector<Tensor*>& a, const std::vector<Tensor*>& b) {
  return std::ranges::equal(a, b, [](const Tensor* x, const Tensor* y) {
    return x->defined() == y->defined() && x->shape() == y->shape() && x->dtype() == y->dtype();
  });
}

// The rows `range` of a batch, sharing its memory.
core::Batch rows_of(const core::Batch& batch, const core::RowRange& range) {
  core::Batch result = batch;
  for (Tensor* const tensor : result.tensors()) {
    if (tensor->defined()) *tensor = tensor->slice(0, range.first, range.last);
  }
  if (!batch.rows.empty()) result.rows = {batch.rows.begin() + range.first, batch.rows.begin() + range.last};
  return result;
}

bool is_only_rank(const core::Communicator* ranks) { return ranks == nullptr || ranks->size() == 1; }

// Whether all work of a step is queued, so that a graph can hold it.
bool can_capture(core::DeviceType type, const core::Communicator* ranks) {
  return type != core::DeviceType::cpu && (is_only_rank(ranks) || ranks->queues_on(type));
}

}  // namespace

std::vector<Tensor*> TrainingStep::Operands::tensors() {
  std::vector<Tensor*> all;
  for (Shard& shard : shards) {
    const auto own = shard.batch.tensors();
    all.insert(all.end(), own.begin(), own.end());
    all.push_back(&shard.share);
  }
  return all;
}

int64_t TrainingStep::Operands::rows() const {
  int64_t rows = 0;
  for (const Shard& shard : shards) rows += shard.is_empty() ? 0 : shard.batch.targets.size(0);
  return rows;
}

TrainingStep::TrainingStep(models::Network& network, Optimizer& optimizer, WeightAverage* average,
                           const StepOptions& options, core::Communicator* ranks, const OptimizerShare* share)
    : network_(network),
      optimizer_(optimizer),
      average_(average),
      options_(options),
      positive_weight_(options.loss.positive_weight),
      device_(network.device()),
      parameters_(trained_parameters(network)),
      meets_(options.shards > 1 && options.batch_statistics == BatchStatistics::batch),
      captures_(options.graph && can_capture(device_.type, ranks) && !meets_ && share == nullptr),
      ranks_(ranks),
      share_(share),
      scalars_(Tensor::zeros({kScalarBytes * (2 + optimizer.scalar_count())}, DType::u8, device_)),
      results_(Tensor::zeros({2}, DType::f64, device_)),
      grad_scale_(Tensor::zeros({1}, DType::f64, device_)) {
  MEDFUSION_CHECK(options.precision == Precision::f32 || device_.type != core::DeviceType::cpu,
                  "training step: the cpu has no kernels but in f32");
  if (device_.type != core::DeviceType::cpu) staging_.emplace(device_);
  if (options_.loss.positive_weight.defined()) {
    options_.loss.positive_weight = options_.loss.positive_weight.to(device_);
  }
  char* next = static_cast<char*>(scalars_.view().data);
  const auto view = [&](int64_t count, DType dtype) {
    return Tensor::borrow(std::exchange(next, next + kScalarBytes * count), {count}, dtype, device_);
  };
  base_ = view(1, DType::i64);
  optimizer_scalars_ = view(optimizer.scalar_count(), DType::f64);
  rate_ = view(1, DType::f64);
  if (options.shards > 1 || !is_only_rank(ranks)) {
    std::vector<Tensor> statistics;
    for (const auto& [name, buffer] : network.buffers()) statistics.push_back(buffer);
    const core::ShardPlan plan{options.shards, ranks == nullptr ? 0 : ranks->rank(),
                               ranks == nullptr ? 1 : ranks->size()};
    sum_.emplace(parameters_, std::move(statistics), plan, ranks, options.bucket_bytes);
  }
  if (options.keep_statistics || sum_) {
    for (const auto& [name, buffer] : network.buffers()) statistics_.emplace_back(buffer, buffer.clone());
  }
  host_ = static_cast<char*>(core::runtime(device_).allocate_pinned(scalars_.bytes() + results_.bytes()));
}

TrainingStep::~TrainingStep() {
  core::Runtime& runtime = core::runtime(device_);
  try {
    if (unfinished_) runtime.synchronize(stream_);
  } catch (...) {  // of work of the step, of which nobody wants the results
  }
  core::note_host_free(host_, scalars_.bytes() + results_.bytes());
  runtime.free_pinned(host_);
  if (graph_) runtime.destroy_graph(*graph_);
}

void TrainingStep::stage(const core::Batch& batch, int64_t step) {
  const core::ShardPlan plan = sum_ ? sum_->plan() : core::ShardPlan{};
  const Tensor& all = batch.whole_targets.defined() ? batch.whole_targets : batch.targets;
  const double whole = sum_ ? layers::loss_weight(all, options_.loss.exclusive, positive_weight_) : 0.0;
  const int64_t begin = plan.own_rows(all.size(0)).first;
  staged_.shards.clear();
  staged_.whole = all.size(0);
  for (int64_t index = plan.first(); index < plan.first() + plan.own(); ++index) {
    Shard& shard = staged_.shards.emplace_back();
    const core::RowRange range = plan.rows_of(index, all.size(0));
    if (sum_ && range.count() == 0) continue;
    const core::Batch part = sum_ ? rows_of(batch, {range.first - begin, range.last - begin}) : batch;
    const uint64_t base = static_cast<uint64_t>(step * plan.shards) << 20;
    const uint64_t first = base + (static_cast<uint64_t>(index) << 20);
    layers::Context context{.training = true, .seed = options_.seed, .stream = first};
    shard.batch = network_.prepare(part, context);
    shard.batch.targets = part.targets;
    shard.batch.rows = part.rows;
    shard.stream = context.stream - base;
    if (!sum_) continue;
    const double own = layers::loss_weight(part.targets, options_.loss.exclusive, positive_weight_);
    shard.share = Tensor::full({1}, whole > 0.0 ? own / whole : 0.0, parameters_.front().second.dtype());
  }
  step_ = step;
  if (!staging_) return;
  std::vector<Tensor> tensors;
  for (Tensor* const tensor : staged_.tensors()) tensors.push_back(std::exchange(*tensor, Tensor()));
  staging_->put(tensors);
}

// The staged batch in memory of its own, so that the next one can be staged: where the captured step reads it
// if it has those shapes, and in new tensors otherwise.
TrainingStep::Operands TrainingStep::from_stage() {
  if (!staging_) return std::exchange(staged_, {});
  Operands result = staged_;  // its tensors went to the staging
  const std::vector<Tensor>& copies = staging_->take();
  const auto to = result.tensors();
  for (size_t i = 0; i < copies.size(); ++i) *to[i] = copies[i];
  const bool is_first = captures_ && fixed_.shards.empty();
  const auto fixed_tensors = fixed_.tensors();
  const bool fits = captures_ && !is_first && same_shapes(to, fixed_tensors);
  for (size_t i = 0; i < copies.size(); ++i) {
    if (!copies[i].defined()) continue;
    if (fits) {
      fixed_tensors[i]->copy_from(copies[i]);
      *to[i] = *fixed_tensors[i];
    } else {
      *to[i] = copies[i].clone();
    }
  }
  staging_->release();
  if (is_first) fixed_ = result;
  fits_ = fits || is_first;
  return result;
}

// Forward and backward; the loss of the shard as a part of the batch's.
Variable TrainingStep::queue(const Shard& shard, layers::ShardExchange* shards) {
  layers::Context context{.training = true,
                          .seed = options_.seed,
                          .stream = shard.stream,
                          .base = base_,
                          .precision = options_.precision,
                          .shards = shards};
  const Variable logits = network_.forward(shard.batch, context);
  Variable loss = layers::label_loss(logits, shard.batch.targets, options_.loss);
  if (shard.share.defined()) loss = layers::mul(loss, Variable(shard.share));
  if (loss.requires_grad()) loss.backward();
  return loss;
}

// Without the others, to know what becomes of a shard or what it needs.
void TrainingStep::queue_alone(const Shard& shard) {
  for (const auto& [value, copy] : statistics_) copy.copy_from(value);
  optimizer_.zero_grad();
  queue(shard, nullptr);
}

Tensor TrainingStep::queue_in_lockstep(const Operands& operands) {
  std::vector<Tensor> losses(operands.shards.size());
  LockstepWork work;
  for (const Shard& shard : operands.shards)
    work.rows.push_back(shard.is_empty() ? 0 : shard.batch.targets.size(0));
  work.rows_of_batch = operands.whole;
  work.on_turn = [&](int64_t index) { sum_->use(index); };
  work.compute = [&](int64_t index, layers::ShardExchange& shards) {
    sum_->clear();
    losses[static_cast<size_t>(index)] = queue(operands.shards[static_cast<size_t>(index)], &shards).value();
  };
  run_in_lockstep(sum_->plan(), ranks_, device_, work);
  for (size_t i = 0; i < losses.size(); ++i) {
    sum_->use(static_cast<int64_t>(i));
    sum_->add(losses[i]);
  }
  return sum_->finish();
}

Tensor TrainingStep::queue_shards(const Operands& operands) {
  if (meets_) return queue_in_lockstep(operands);
  const Tensor nothing = Tensor::zeros({1}, parameters_.front().second.dtype(), device_);
  for (const Shard& shard : operands.shards) {
    restore_statistics();
    sum_->clear();
    const auto watch = sum_->watch();
    const Tensor loss = shard.is_empty() ? nothing : queue(shard, nullptr).value();
    sum_->add(loss);
  }
  return sum_->finish();
}

// Everything here only queues work on the device, but for an exchange between ranks that goes through the
// host.
void TrainingStep::queue(const Operands& operands) {
  for (const auto& [value, copy] : statistics_) copy.copy_from(value);
  Tensor loss;
  if (sum_) {
    loss = queue_shards(operands);
  } else {
    optimizer_.zero_grad();
    loss = queue(operands.shards.front(), nullptr).value();
  }
  results_.slice(0, 0, 1).copy_from(loss);
  clip_gradients(parameters_, options_.clip_norm, results_.slice(0, 1, 2), grad_scale_,
                 results_.slice(0, 0, 1));
  optimizer_.update(optimizer_scalars_, grad_scale_);
  if (share_ != nullptr) share_->share_values();
  if (average_ != nullptr) average_->average(rate_, grad_scale_);
}

void TrainingStep::restore_statistics() {
  for (const auto& [value, copy] : statistics_) value.copy_from(copy);
}

void TrainingStep::start(double learning_rate) {
  std::string what;
  try {
    run(learning_rate);
    return;
  } catch (const core::OutOfMemory& error) {
    what = error.what();
  }
  throw core::OutOfMemory(what + batch_hint());
}

// One copy for all of them. Those of an earlier step are no longer read from host_: it was finished.
void TrainingStep::send_scalars(double learning_rate) {
  MEDFUSION_CHECK(!unfinished_, "training step: start() before finish() of the step before");
  const int64_t base = (step_ * options_.shards) << 20;
  std::vector<double> scalars = optimizer_.next_scalars(learning_rate);
  scalars.push_back(average_ != nullptr ? average_->next_rate() : 0.0);
  std::memcpy(host_, &base, kScalarBytes);
  std::memcpy(host_ + kScalarBytes, scalars.data(), sizeof(double) * scalars.size());
  stream_ = core::current_stream(device_);
  unfinished_ = true;
  core::runtime(device_).copy_to_device(scalars_.view().data, host_, scalars_.bytes(), stream_);
}

void TrainingStep::run(double learning_rate) {
  send_scalars(learning_rate);
  running_ = from_stage();
  // A graph's exchange needs the graphs of all ranks (NCCL's rule for captures).
  const bool captured = captures_ && (is_only_rank(ranks_) ? fits_ : !core::any_rank(*ranks_, !fits_));
  if (!captured) return queue(running_);
  if (!pool_) {  // the first step runs as it is and leaves its memory to the capture
    pool_ = std::make_unique<core::MemoryPool>(core::allocator(device_), core::current_stream(device_));
    const core::MemoryPool::Use use(*pool_);
    return queue(fixed_);
  }
  MEDFUSION_CHECK(running_.shards.back().stream == fixed_.shards.back().stream,
                  "training step: the random layers begin elsewhere");
  if (graph_ && ranks_ != nullptr) ranks_->count_sent(bytes_sent_);
  if (!graph_) capture();
  core::runtime(device_).replay(*graph_, core::current_stream(device_));
  ++replays_;
}

// Bytes that forward and backward of the first samples of the running shard need on top of what is there: the
// most that lives at once, or what the pool of a graph holds, where blocks are reused for their own size
// only.
int64_t TrainingStep::bytes_of(int64_t samples) {
  core::CachingAllocator& allocator = core::allocator(device_);
  Shard shard = running_.shards.back();
  for (Tensor* const tensor : shard.batch.tensors()) {
    if (tensor->defined()) *tensor = tensor->slice(0, 0, samples);
  }
  const core::Stream stream = core::current_stream(device_);
  allocator.reset_peak();
  const core::MemoryCounters before = allocator.counters();
  if (captures_) {
    core::MemoryPool pool(allocator, stream);
    const core::MemoryPool::Use use(pool);
    queue_alone(shard);
    return allocator.counters().reserved - before.reserved;
  }
  queue_alone(shard);
  return allocator.counters().peak - before.live;
}

// After the step has run out of memory: how many samples would fit. Runs two and three of them to know (one
// may be too few for batch statistics).
std::string TrainingStep::batch_hint() {
  core::Runtime& runtime = core::runtime(device_);
  if (running_.shards.empty() || running_.shards.back().is_empty() || runtime.memory().total == 0) return "";
  const int64_t batch = running_.shards.back().batch.targets.size(0);
  const int64_t few = std::min<int64_t>(2, batch);
  pool_.reset();
  core::allocator(device_).release_cached();
  try {
    runtime.synchronize(core::current_stream(device_));
    const int64_t base = bytes_of(few);
    const int64_t each = batch > few ? std::max<int64_t>(1, bytes_of(few + 1) - base) : base / few;
    core::allocator(device_).release_cached();
    runtime.synchronize(core::current_stream(device_));  // frees are over then
    // The batch itself is there already, once here and once in the staging.
    int64_t operands = 0;
    for (const Tensor* const tensor : running_.tensors())
      operands += tensor->defined() ? 2 * tensor->bytes() : 0;
    operands /= static_cast<int64_t>(running_.shards.size());
    const int64_t room = runtime.memory().free + operands - (base - few * each);
    const int64_t fits = std::min(batch - 1, room / (each + operands / batch));
    if (fits >= 1) {
      return fmt::format("; by estimate, a batch of {} would fit (now {}; a sample takes about {} bytes)",
                         fits * options_.shards, running_.rows(), each);
    }
  } catch (const core::Error&) {  // out of memory again, or these cannot be run: the first error counts
  }
  return fmt::format("; by estimate, a batch of {} would not fit either", few * options_.shards);
}

void TrainingStep::capture() {
  core::Runtime& runtime = core::runtime(device_);
  const core::Stream stream = core::current_stream(device_);
  const core::MemoryPool::Use use(*pool_);
  runtime.begin_capture(stream);
  const int64_t sent = ranks_ != nullptr ? ranks_->bytes_sent() : 0;
  try {
    queue(fixed_);
    if (ranks_ != nullptr) bytes_sent_ = ranks_->bytes_sent() - sent;
  } catch (...) {
    try {  // the stream shall be usable again
      runtime.destroy_graph(runtime.end_capture(stream));
    } catch (...) {
    }
    throw;
  }
  graph_ = runtime.end_capture(stream);
}

StepResult TrainingStep::finish() {
  core::Runtime& runtime = core::runtime(device_);
  char* const host = host_ + scalars_.bytes();
  runtime.copy_to_host(host, results_.view().data, results_.bytes(), stream_);
  runtime.synchronize(stream_);
  unfinished_ = false;
  StepResult result;
  std::memcpy(&result.loss, host, sizeof(double));
  std::memcpy(&result.gradient_norm, host + sizeof(double), sizeof(double));
  if (result.finite()) {
    running_ = {};
    return result;
  }
  optimizer_.uncount();
  if (average_ != nullptr) average_->uncount();
  const core::StreamGuard on_stream(device_, stream_);
  restore_statistics();
  return result;
}

// Of the batch that running_ still holds; of several ranks' texts the first that found something counts.
std::string TrainingStep::trace(const std::function<std::string(int64_t)>& row_name) {
  MEDFUSION_CHECK(!running_.shards.empty() && !unfinished_,
                  "training step: trace() is for a step that was not finite");
  const core::StreamGuard on_stream(device_, stream_);
  std::string text;
  bool found = false;
  for (const Shard& shard : running_.shards) {
    if (shard.is_empty() || found) continue;
    std::tie(text, found) = trace(shard, row_name);
    restore_statistics();
  }
  if (is_only_rank(ranks_)) return text;
  const std::vector<std::string> texts = core::gather_texts(*ranks_, (found ? "1" : "0") + text);
  for (const std::string& each : texts) {
    if (each.front() == '1') return each.substr(1);
  }
  return texts.front().substr(1);
}

// What is said of a shard, and whether that is the place.
std::pair<std::string, bool> TrainingStep::trace(const Shard& shard,
                                                 const std::function<std::string(int64_t)>& row_name) {
  NonfiniteTrace trace(network_, shard.batch, row_name);
  if (trace.found()) return {trace.text(), true};
  try {
    std::optional<core::MemoryPool::Use> use;
    if (pool_) use.emplace(*pool_);
    queue_alone(shard);
    return {trace.text(), trace.found()};
  } catch (const core::OutOfMemory& error) {  // the message on the step itself shall not be lost
    return {fmt::format("the step cannot be run again: {}", error.what()), true};
  }
}

}  // namespace medfusion::optim
