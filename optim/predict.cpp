#include "optim/predict.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "optim/staging.h"

namespace medfusion::optim {

using core::Tensor;

namespace {

// Brings batches to a network: on a device, the next one is under way while this one is computed.
class Feed {
 public:
  explicit Feed(models::Network& network) : network_(network) {
    if (network.device().type != core::DeviceType::cpu) staging_.emplace(network.device());
  }
  void stage(const core::Batch& batch) {
    layers::Context context;
    staged_ = network_.prepare(batch, context);
    if (!staging_) return;
    std::vector<Tensor> tensors;
    for (Tensor* const tensor : staged_.tensors()) tensors.push_back(std::exchange(*tensor, Tensor()));
    staging_->put(tensors);
  }
  // What was staged, on the network's device and in memory of its own: the next batch may follow.
  models::Prepared take() {
    models::Prepared batch = std::exchange(staged_, {});
    if (!staging_) return batch;
    const std::vector<Tensor*> to = batch.tensors();
    const std::vector<Tensor>& copies = staging_->take();
    for (size_t i = 0; i < copies.size(); ++i) {
      if (copies[i].defined()) *to[i] = copies[i].clone();
    }
    staging_->release();
    return batch;
  }

 private:
  models::Network& network_;
  std::optional<Staging> staging_;
  models::Prepared staged_;
};

}  // namespace

Tensor to_probabilities(const Tensor& logits, Output output) {
  const Tensor in = logits.to_contiguous();
  Tensor out = Tensor::empty(in.shape());
  const int64_t width = in.size(-1);
  for (int64_t row = 0; row < in.numel() / width; ++row) {
    const float* z = in.data<float>() + row * width;
    float* p = out.data<float>() + row * width;
    if (output != Output::softmax) {
      for (int64_t i = 0; i < width; ++i)
        p[i] = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(z[i]))));
      continue;
    }
    const double largest = *std::max_element(z, z + width);
    double sum = 0.0;
    for (int64_t i = 0; i < width; ++i) sum += std::exp(z[i] - largest);
    for (int64_t i = 0; i < width; ++i) p[i] = static_cast<float>(std::exp(z[i] - largest) / sum);
  }
  return out;
}

Tensor to_log_odds(const Tensor& logits, Output output) {
  const Tensor in = logits.to(core::DType::f64).to_contiguous();
  if (output == Output::sigmoid) return in;
  Tensor out = Tensor::empty(in.shape(), core::DType::f64);
  const int64_t width = in.size(-1);
  for (int64_t at = 0; at < in.numel(); ++at) {
    const double* z = in.data<double>() + at / width * width;
    const int64_t own = at % width;
    double largest = -INFINITY, sum = 0.0;  // of the other labels
    for (int64_t i = 0; i < width; ++i) largest = i == own ? largest : std::max(largest, z[i]);
    for (int64_t i = 0; i < width; ++i) sum += i == own ? 0.0 : std::exp(z[i] - largest);
    out.data<double>()[at] = z[own] - largest - std::log(sum);
  }
  return out;
}

namespace {

// Batch number i of all stands on rank i % ranks as number i / ranks; every rank gets all, in order.
template <class T>
void gather_batches(std::vector<T>& values, int64_t width, const data::Loader& loader,
                    core::Communicator& ranks) {
  const int64_t each = (loader.batches() + ranks.size() - 1) / ranks.size(),
                size = loader.batch_size() * width;
  values.resize(static_cast<size_t>(each * size));
  std::vector<T> all(static_cast<size_t>(ranks.size() * each * size));
  ranks.all_gather(values.data(), all.data(), each * size * static_cast<int64_t>(sizeof(T)));
  values.clear();
  for (int64_t batch = 0; batch < loader.batches(); ++batch) {
    const int64_t count = std::min(loader.batch_size(), loader.rows() - batch * loader.batch_size()) * width;
    const auto from = all.begin() + (batch % ranks.size() * each + batch / ranks.size()) * size;
    values.insert(values.end(), from, from + count);
  }
}

void append(std::vector<float>& values, const Tensor& tensor) {
  const Tensor dense = tensor.to(core::Device{}).to(core::DType::f32).to_contiguous();
  values.insert(values.end(), dense.data<float>(), dense.data<float>() + dense.numel());
}

}  // namespace

Predictions predict(models::Network& network, data::Loader& loader, Output output,
                    const std::function<void(int64_t)>& on_batch, core::Communicator* ranks) {
  const core::NoGradGuard no_gradients;
  Predictions result;
  Feed feed(network);
  core::Batch batch, next;
  std::vector<float> logits, targets;
  int64_t done = 0, labels = 0;
  loader.begin_epoch(0);
  bool more = loader.next(next);
  if (more) feed.stage(next);
  while (more) {
    std::swap(batch, next);
    layers::Context context;
    const Tensor output_of_batch = network.forward(feed.take(), context).value();
    more = loader.next(next);  // while the device computes
    if (more) feed.stage(next);
    labels = output_of_batch.size(1);
    append(logits, output_of_batch);  // waits for them
    if (batch.targets.defined()) append(targets, batch.targets);
    result.rows.insert(result.rows.end(), batch.rows.begin(), batch.rows.end());
    done += batch.size();
    if (on_batch) on_batch(done);
  }
  if (loader.is_divided()) {
    MEDFUSION_CHECK(ranks != nullptr, "predict: the loader gives some of the batches, so expected the ranks");
    int64_t sizes[] = {labels, targets.empty() ? 0 : 1};  // rank 0 has a batch
    ranks->broadcast(sizes, sizeof(sizes));
    labels = sizes[0];
    gather_batches(logits, labels, loader, *ranks);
    if (sizes[1] != 0) gather_batches(targets, labels, loader, *ranks);
    gather_batches(result.rows, 1, loader, *ranks);
    done = static_cast<int64_t>(result.rows.size());
  }
  MEDFUSION_CHECK(done > 0 && done == loader.rows(), "predict: the loader gave {} of {} rows", done,
                  loader.rows());
  result.logits = Tensor::from({done, labels}, logits);
  if (!targets.empty())
    result.targets = Tensor::from({done, static_cast<int64_t>(targets.size()) / done}, targets);
  result.probabilities = to_probabilities(result.logits, output);
  result.log_odds = to_log_odds(result.logits, output);
  return result;
}

}  // namespace medfusion::optim
