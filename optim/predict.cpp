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

Predictions predict(models::Network& network, data::Loader& loader, Output output,
                    const std::function<void(int64_t)>& on_batch) {
  const core::NoGradGuard no_gradients;
  Predictions result;
  Feed feed(network);
  core::Batch batch, next;
  int64_t done = 0;
  loader.begin_epoch(0);
  bool more = loader.next(next);
  if (more) feed.stage(next);
  while (more) {
    std::swap(batch, next);
    layers::Context context;
    const Tensor logits = network.forward(feed.take(), context).value();
    more = loader.next(next);  // while the device computes
    if (more) feed.stage(next);
    if (!result.logits.defined()) {
      result.logits = Tensor::empty({loader.rows(), logits.size(1)});
      if (batch.targets.defined()) result.targets = Tensor::empty({loader.rows(), batch.targets.size(1)});
    }
    result.logits.slice(0, done, done + batch.size()).copy_from(logits);  // waits for them
    if (result.targets.defined()) result.targets.slice(0, done, done + batch.size()).copy_from(batch.targets);
    result.rows.insert(result.rows.end(), batch.rows.begin(), batch.rows.end());
    done += batch.size();
    if (on_batch) on_batch(done);
  }
  MEDFUSION_CHECK(done > 0 && done == loader.rows(), "predict: the loader gave {} of {} rows", done,
                  loader.rows());
  result.probabilities = to_probabilities(result.logits, output);
  result.log_odds = to_log_odds(result.logits, output);
  return result;
}

}  // namespace medfusion::optim
