// The parts of MedFusionNet, for medfusionnet.cpp and its tests. docs/medfusionnet.md says what each
// computes.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "models/medfusionnet/medfusionnet.h"

namespace medfusion::models {

// Dropout in training, with the next stream of the context.
core::Variable drop_out(const core::Variable& x, double rate, layers::Context& context);

// Which modalities each sample has: [B] bool each.
struct MedFusionNet::Presence {
  core::Tensor image, table, text;
};

// C2..C5 -> P2..P5, each [B, h, w, width].
class MedFusionNet::Pyramid : public layers::Module {
 public:
  Pyramid(const std::array<int64_t, 4>& channels, int64_t width, bool bilinear, bool align_corners,
          core::DType dtype);
  std::array<core::Variable, 4> forward(const std::array<core::Variable, 4>& levels) const;

 private:
  bool bilinear_, align_corners_;
  std::array<std::unique_ptr<layers::Convolution>, 4> lateral_, smooth_;
};

// Pixels of the listed levels as tokens, with level embedding and position code: [B, sum of pixels, D].
class MedFusionNet::ImageTokens : public layers::Module {
 public:
  ImageTokens(const NetworkOptions& options, const std::array<int64_t, 4>& backbone_channels);
  core::Variable forward(const std::map<int64_t, core::Variable>& levels) const;

 private:
  int64_t dim_;
  std::vector<int64_t> levels_;
  std::vector<std::unique_ptr<layers::Linear>> projections_;
  core::Variable level_embedding_;
  DeviceConstants codes_;  // by height and width
};

// The fixed position code of a height x width grid: [height * width, dim].
core::Tensor position_code(int64_t height, int64_t width, int64_t dim, core::DType dtype);

// values [B, T, 1], missing [B, T, 1] (0 or 1) or undefined, bins [B, T] as bin_rows() gives them, or
// undefined
// -> [B, T, D].
class MedFusionNet::TableTokens : public layers::Module {
 public:
  // bins: of each feature; empty: none.
  TableTokens(int64_t features, const std::vector<int64_t>& bins, int64_t dim, core::DType dtype);
  core::Variable forward(const core::Tensor& values, const core::Tensor& missing,
                         const core::Tensor& bins) const;
  // bins [B, T] i64, each counting from 0, missing [B, T] bool or undefined -> rows of the parameter `bin`,
  // on the host; undefined where there is none.
  core::Tensor bin_rows(const core::Tensor& bins, const core::Tensor& missing) const;

 private:
  core::Variable weight_, bias_, missing_;
  core::Variable bin_;              // [1 + bins of all features, D], row 0 where missing; undefined: none
  std::vector<int64_t> first_bin_;  // row of bin_ where each feature's bins start, and the end
};

// ids [B, W] i64 on the device of the parameters -> [B, W, D], or with `weights` [B, W, 1] the words'
// weighted sum, [B, 1, D].
class MedFusionNet::TextTokens : public layers::Module {
 public:
  TextTokens(int64_t vocabulary, int64_t length, int64_t dim, core::DType dtype);
  core::Variable forward(const core::Tensor& ids, const core::Tensor& weights) const;
  void check(const core::Tensor& ids) const;  // throws core::Error on an id outside the vocabulary

 private:
  core::Variable embedding_, position_;
};

class MedFusionNet::Encoder : public layers::Module {
 public:
  explicit Encoder(const NetworkOptions& options);
  // tokens [B, S, D] -> the first `queries` tokens [B, queries, D], normalized.
  core::Variable forward(const core::Variable& tokens, int64_t queries, const layers::AttentionMasks& masks,
                         layers::Context& context) const;

 private:
  std::vector<std::unique_ptr<layers::EncoderLayer>> layers_;
  layers::LayerNorm norm_;
};

// One linear unit per label: h [B, L, D] -> [B, L].
class MedFusionNet::LabelHead : public layers::Module {
 public:
  LabelHead(int64_t labels, int64_t dim, core::DType dtype);
  core::Variable forward(const core::Variable& h) const;
  core::Variable weight, bias;
};

// Mixes the branches' logits per label. Without the attention branch (dim 0) the scores are the biases alone.
class MedFusionNet::Gate : public layers::Module {
 public:
  Gate(int64_t branches, int64_t labels, int64_t dim, core::DType dtype);
  // h [B, L, D] or undefined; logits [B, L] per branch; shift [B, branches, 1] -> [B, L].
  core::Variable forward(const core::Variable& h, const std::vector<core::Variable>& logits,
                         const core::Tensor& shift, layers::Trace* trace) const;

 private:
  int64_t branches_, labels_;
  core::Variable weight_, bias_;
};

}  // namespace medfusion::models
