#include "tools/evaluation/explain/explain.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "tools/evaluation/explain/integrated_gradients.h"
#include "tools/evaluation/explain/label_rounds.h"
#include "tools/evaluation/explain/occlusion.h"

namespace medfusion::tools {
namespace {

using core::Batch;
using core::Tensor;
using core::Variable;
using layers::Context;
using layers::Trace;
using models::ImageLevels;
using models::Network;
using models::Prepared;

Tensor to_host(const Tensor& tensor) { return tensor.to(core::Device{}).to(core::DType::f32); }

// sum += map, where an undefined sum is zero.
void add_to(Tensor& sum, const Tensor& map) {
  if (!sum.defined()) {
    sum = map;
    return;
  }
  for (int64_t i = 0; i < map.numel(); ++i) sum.data<float>()[i] += map.data<float>()[i];
}

size_t place(int64_t level) { return static_cast<size_t>(level - 2); }

// Whether row b of [B, width] holds `value` somewhere.
bool row_has(const Tensor& tensor, int64_t b, bool value) {
  const int64_t width = tensor.numel() / tensor.size(0);
  for (int64_t i = b * width; i < (b + 1) * width; ++i) {
    if ((tensor.at(i) != 0.0) == value) return true;
  }
  return false;
}

// Which samples have anything of a modality.
std::vector<bool> present_of(const Batch& inputs, Modality modality) {
  const int64_t batch = inputs.size();
  const auto has = [](const Tensor& mask, int64_t b, bool value) {
    return !mask.defined() || row_has(mask, b, value);
  };
  std::vector<bool> present;
  for (int64_t b = 0; b < batch; ++b) {
    present.push_back(modality == Modality::image ? has(inputs.image_present, b, true)
                      : modality == Modality::table
                          ? has(inputs.table_present, b, true) && has(inputs.table.missing, b, false)
                          : row_has(inputs.text, b, true));
  }
  return present;
}

Batch without(const Batch& inputs, Modality modality) {
  Batch hidden = inputs;
  const auto none = [](int64_t batch) { return Tensor::zeros({batch}, core::DType::boolean); };
  if (modality == Modality::image) hidden.image_present = none(inputs.images.size(0));
  if (modality == Modality::table) hidden.table_present = none(inputs.table.values.size(0));
  if (modality == Modality::text) hidden.text = Tensor::zeros(inputs.text.shape(), core::DType::i64);
  return hidden;
}

Batch without_feature(const Batch& inputs, int64_t feature) {
  Batch hidden = inputs;
  hidden.table.missing = inputs.table.missing.defined()
                             ? inputs.table.missing.clone()
                             : Tensor::zeros(inputs.table.values.shape(), core::DType::boolean);
  hidden.table.values = inputs.table.values.clone();
  hidden.table.values.slice(1, feature, feature + 1).fill(0.0);
  hidden.table.missing.slice(1, feature, feature + 1).fill(1.0);
  return hidden;
}

Tensor logits_of(Network& network, const ImageLevels& levels, const Batch& inputs) {
  const core::NoGradGuard no_gradients;
  Context context;
  const auto batch = network.prepare(inputs, context).to(network.device());
  return to_host(network.forward_from(levels, batch, context).value());
}

void find_contributions(Network& network, const ImageLevels& levels, const Batch& inputs,
                        Explanation& result) {
  const std::array there{inputs.images.defined(), inputs.table.values.defined(), inputs.text.defined()};
  for (const Modality modality : kModalities) {
    const auto m = static_cast<size_t>(modality);
    if (!there[m]) continue;
    result.modalities[m] = {logits_of(network, levels, without(inputs, modality)),
                            present_of(inputs, modality)};
  }
  if (!inputs.table.values.defined()) return;
  const int64_t width = inputs.table.values.size(1);
  for (int64_t f = 0; f < width; ++f) {
    Contribution contribution{logits_of(network, levels, without_feature(inputs, f)), {}};
    for (size_t b = 0; b < result.modalities[1].present.size(); ++b) {
      const bool known = !inputs.table.missing.defined() ||
                         inputs.table.missing.at(static_cast<int64_t>(b) * width + f) == 0.0;
      contribution.present.push_back(result.modalities[1].present[b] && known);
    }
    result.features.push_back(contribution);
  }
}

// The leaves that replace the wanted levels, after backward of the round.
std::vector<Variable> differentiated_levels(Network& network, const ImageLevels& levels,
                                            const Prepared& batch, const Levels& wanted,
                                            const LabelRounds& rounds, size_t round) {
  Context context;
  std::vector<Variable> leaves;
  if (wanted.backbone()) {
    for (const int64_t number : wanted.numbers()) {  // they depend on one another: one pass for each
      Trace trace;
      trace.wanted = {fmt::format("C{}", number)};
      context.trace = &trace;
      const ImageLevels again = network.image_levels(batch, context);
      rounds.backward(round, network.forward_from(again, batch, context));
      leaves.push_back(trace.cuts.begin()->second);
    }
    return leaves;
  }
  ImageLevels cut = levels;  // values only: nothing before them is differentiated
  for (const int64_t number : wanted.numbers()) {
    Variable& level = cut.pyramid[place(number)];
    level = Variable(level.value(), true);
    leaves.push_back(level);
  }
  rounds.backward(round, network.forward_from(cut, batch, context));
  return leaves;
}

// The rollout's share of each pixel, over the levels that are tokens.
void find_attention_maps(const Batch& inputs, const ExplainOptions& options, Explanation& result) {
  const bool any = std::any_of(result.tokens.begin(), result.tokens.end(),
                               [](const auto& t) { return t.kind == Trace::Tokens::Kind::image; });
  if (!any) core::throw_input_error({}, "method attention: the network has no tokens of the image");
  for (size_t b = 0; b < result.maps.size(); ++b) {
    const auto sample = static_cast<int64_t>(b);
    const Tensor rows = result.rollout.slice(0, sample, sample + 1).squeeze(0);
    for (size_t l = 0; l < options.map_labels.size(); ++l) {
      const int64_t label = options.map_labels[l];
      for (const auto& tokens : result.tokens) {
        if (tokens.kind != Trace::Tokens::Kind::image) continue;
        add_to(result.maps[b][l],
               upsample_map(attention_map(rows.slice(0, label, label + 1).squeeze(0), tokens),
                            inputs.images.size(1), inputs.images.size(2), true));
      }
    }
  }
}

// By a Gaussian of sigma / 64 of the width.
Tensor smoothed(const Tensor& map, double sigma) {
  const int64_t height = map.size(0), width = map.size(1);
  return gaussian_blur(map.reshape({height, width, 1}), sigma / 64 * static_cast<double>(width))
      .reshape({height, width});
}

Tensor without_negative(const Tensor& map) {
  const Tensor result = map.clone();
  for (int64_t i = 0; i < result.numel(); ++i) {
    result.data<float>()[i] = std::max(0.0F, result.data<float>()[i]);
  }
  return result;
}

// The maps by integrated gradients, times those in `result` where there are any.
void find_pixel_maps(Network& network, const Batch& inputs, const ExplainOptions& options,
                     Explanation& result) {
  const auto maps = integrated_gradients(network, inputs, options.map_labels, options.wanted);
  for (size_t b = 0; b < maps.size(); ++b) {
    for (size_t l = 0; l < maps[b].size(); ++l) {
      Tensor& target = result.maps[b][l];
      if (!maps[b][l].defined()) continue;
      const Tensor map = smoothed(without_negative(maps[b][l]), 2.0);
      const Tensor guide = target.defined() ? smoothed(target, 4.0) : Tensor::full(map.shape(), 1.0);
      const float largest = std::max(peak_of(guide).value, std::numeric_limits<float>::min());
      for (int64_t i = 0; i < map.numel(); ++i) {
        map.data<float>()[i] *= guide.data<float>()[i] / largest;
      }
      target = map;
    }
  }
}

// The maps from activations and gradients of the levels.
void find_level_maps(Network& network, const ImageLevels& levels, const Batch& inputs,
                     const ExplainOptions& options, Explanation& result) {
  if (!options.levels.backbone() && !levels.pyramid.front().defined()) {
    core::throw_input_error({}, "level {}: the network has no pyramid; expected C2 to C5",
                            options.levels.text());
  }
  for (const int64_t number : options.levels.numbers()) {
    if (options.levels.backbone() && !levels.backbone[place(number)].defined())
      core::throw_input_error({}, "level {}: the network has no map C{}; --level C4 is for a plain vit_small",
                              options.levels.text(), number);
  }
  Context context;
  const Prepared prepared = network.prepare(inputs, context).to(network.device());
  const int64_t batch = inputs.images.size(0), height = inputs.images.size(1), width = inputs.images.size(2);
  const LabelRounds rounds(batch, options.map_labels, options.wanted);
  for (size_t round = 0; round < rounds.count(); ++round) {
    for (const Variable& level :
         differentiated_levels(network, levels, prepared, options.levels, rounds, round)) {
      const Tensor activations = to_host(level.value()), gradient = to_host(level.gradient());
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t place = rounds.place(round, b);
        if (place < 0) continue;
        const auto of_sample = [b](const Tensor& t) { return t.slice(0, b, b + 1).squeeze(0); };
        const Tensor map = upsample_map(
            saliency_map(options.method, of_sample(activations), of_sample(gradient)), height, width, true);
        add_to(result.maps[static_cast<size_t>(b)][static_cast<size_t>(place)], map);
      }
    }
  }
}

void find_maps(Network& network, const ImageLevels& levels, const Batch& inputs,
               const ExplainOptions& options, Explanation& result) {
  const std::vector<Tensor> none(options.map_labels.size());
  result.maps.assign(static_cast<size_t>(result.logits.size(0)), none);
  if (!inputs.images.defined()) return;
  if (options.method == MapMethod::attention) {
    find_attention_maps(inputs, options, result);
  } else if (options.method == MapMethod::occlusion) {
    result.maps = occlusion_maps(network, inputs, options.map_labels);
  } else {
    if (options.method != MapMethod::integrated) find_level_maps(network, levels, inputs, options, result);
    if (options.method == MapMethod::integrated || options.method == MapMethod::guided)
      find_pixel_maps(network, inputs, options, result);
  }
  const std::vector<bool> present = present_of(inputs, Modality::image);
  for (size_t b = 0; b < present.size(); ++b) {
    if (!present[b]) result.maps[b] = none;
  }
}

// [rows, inner] x [inner, columns], all f32.
void multiply_add(const float* a, const float* b, float* out, int64_t rows, int64_t inner, int64_t columns) {
  std::vector<double> sum(static_cast<size_t>(columns));
  for (int64_t i = 0; i < rows; ++i) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t k = 0; k < inner; ++k) {
      const double weight = a[i * inner + k];
      for (int64_t j = 0; j < columns; ++j) sum[static_cast<size_t>(j)] += weight * b[k * columns + j];
    }
    for (int64_t j = 0; j < columns; ++j)
      out[i * columns + j] = static_cast<float>(sum[static_cast<size_t>(j)]);
  }
}

// (P + 1) / 2: half of a token's information comes past the attention.
Tensor with_residual(const Tensor& probabilities) {
  Tensor result = probabilities.clone();
  const int64_t rows = result.size(1), columns = result.size(2);
  for (int64_t b = 0; b < result.size(0); ++b) {
    float* sample = result.data<float>() + b * rows * columns;
    for (int64_t i = 0; i < rows * columns; ++i) sample[i] *= 0.5F;
    for (int64_t i = 0; i < rows; ++i) sample[i * columns + i] += 0.5F;
  }
  return result;
}

}  // namespace

Levels Levels::parse(const std::string& text) {
  Levels result;
  bool known = !text.empty() && text.back() != '+';
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, '+');) {
    known = known && word.size() == 2 && word[0] == text[0] && word[1] >= '2' && word[1] <= '5';
    result.numbers_.push_back(known ? word[1] - '0' : 0);
  }
  result.backbone_ = text[0] == 'C';
  std::sort(result.numbers_.begin(), result.numbers_.end());
  const bool repeated =
      std::adjacent_find(result.numbers_.begin(), result.numbers_.end()) != result.numbers_.end();
  if (!known || repeated || (text[0] != 'C' && text[0] != 'P')) {
    core::throw_input_error({}, "expected levels of P2 to P5 or of C2 to C5, several as P2+P3, got '{}'",
                            text);
  }
  return result;
}

std::string Levels::text() const {
  std::string text;
  for (const int64_t number : numbers_) {
    text += fmt::format("{}{}{}", text.empty() ? "" : "+", backbone_ ? 'C' : 'P', number);
  }
  return text;
}

std::string name_of(Modality modality) {
  return modality == Modality::image ? "image" : modality == Modality::table ? "table" : "text";
}

Tensor attention_rollout(const std::vector<Tensor>& probabilities) {
  MEDFUSION_CHECK(!probabilities.empty(), "rollout: no layers");
  Tensor rollout = with_residual(probabilities.back());
  const int64_t rows = rollout.size(1), columns = rollout.size(2);
  for (size_t layer = probabilities.size() - 1; layer-- > 0;) {
    const Tensor below = with_residual(probabilities[layer]);
    Tensor product = Tensor::empty(rollout.shape());
    for (int64_t b = 0; b < rollout.size(0); ++b) {
      multiply_add(rollout.data<float>() + b * rows * columns, below.data<float>() + b * columns * columns,
                   product.data<float>() + b * rows * columns, rows, columns, columns);
    }
    rollout = product;
  }
  return rollout;
}

Tensor attention_map(const Tensor& row, const Trace::Tokens& tokens) {
  return row.slice(0, tokens.first, tokens.first + tokens.count).reshape({tokens.height, tokens.width});
}

Explanation explain(Network& network, const Batch& inputs, const ExplainOptions& options) {
  Explanation result;
  ImageLevels levels;
  {
    const core::NoGradGuard no_gradients;
    Trace trace;
    trace.attention = options.attention || options.method == MapMethod::attention;
    Context context;
    context.trace = &trace;
    const Prepared batch = network.prepare(inputs, context).to(network.device());
    levels = network.image_levels(batch, context);
    result.logits = to_host(network.forward_from(levels, batch, context).value());
    if (trace.gate.defined()) result.gate = to_host(trace.gate).to_contiguous();
    result.branches = trace.branches;
    result.tokens = trace.tokens;
    if (!trace.probabilities.empty()) {
      std::vector<Tensor> layers;
      for (const Tensor& p : trace.probabilities) layers.push_back(to_host(p).to_contiguous());
      result.rollout = attention_rollout(layers);
      const int64_t labels = result.logits.size(1);
      for (const Tensor& p : layers) result.attention.push_back(p.slice(1, 0, labels).to_contiguous());
    }
  }
  const bool reads_more = !result.tokens.empty() || inputs.table.values.defined();
  if (options.attention && reads_more) find_contributions(network, levels, inputs, result);
  if (!options.map_labels.empty()) find_maps(network, levels, inputs, options, result);
  return result;
}

}  // namespace medfusion::tools
