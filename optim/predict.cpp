#include "optim/predict.h"

#include <algorithm>
#include <cmath>

namespace medfusion::optim {

using core::Tensor;

models::Inputs to_inputs(const data::Batch& batch) {
  return {batch.images, batch.image_present, batch.table,     batch.table_missing,
          {},           batch.tokens,        batch.table_bins};
}

Tensor to_probabilities(const Tensor& logits, Output output) {
  const Tensor in = logits.to_contiguous();
  Tensor out = Tensor::empty(in.shape());
  const int64_t width = in.size(-1);
  for (int64_t row = 0; row < in.numel() / width; ++row) {
    const float* z = in.data<float>() + row * width;
    float* p = out.data<float>() + row * width;
    if (output == Output::sigmoid) {
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

Predictions predict(const models::Network& network, data::Loader& loader, Output output,
                    const std::function<void(int64_t)>& on_batch) {
  const core::NoGradGuard no_gradients;
  Predictions result;
  data::Batch batch;
  int64_t done = 0;
  loader.begin_epoch(0);
  while (loader.next(batch)) {
    layers::Context context;
    const Tensor logits = network.forward(to_inputs(batch), context).value();
    if (!result.logits.defined()) {
      result.logits = Tensor::empty({loader.rows(), logits.size(1)});
      result.targets = Tensor::empty({loader.rows(), batch.targets.size(1)});
    }
    result.logits.slice(0, done, done + batch.size()).copy_from(logits);
    result.targets.slice(0, done, done + batch.size()).copy_from(batch.targets);
    result.rows.insert(result.rows.end(), batch.rows.begin(), batch.rows.end());
    done += batch.size();
    if (on_batch) on_batch(done);
  }
  MEDFUSION_CHECK(done > 0 && done == loader.rows(), "predict: the loader gave {} of {} rows", done,
                  loader.rows());
  result.probabilities = to_probabilities(result.logits, output);
  return result;
}

}  // namespace medfusion::optim
