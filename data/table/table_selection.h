// What stage one leaves for the network: the features that become tokens, which label sees which, and the
// bins of their values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/batch.h"
#include "data/table/feature_selection.h"
#include "data/table/table_encoder.h"

namespace medfusion::data {

class TableSelection {
 public:
  // The features that at least one label selected. A feature's bins are cut by the cuts of all labels that
  // selected it.
  static TableSelection selected(const StageOne& stage, const TableEncoder& encoder);
  // All features, seen by every label; bins are cut by the cuts of all labels.
  static TableSelection all(const StageOne& stage, const TableEncoder& encoder);

  int64_t features() const { return static_cast<int64_t>(kept_.size()); }
  std::vector<std::string> feature_names(const TableEncoder& encoder) const;
  // Places of the features among those of the encoder; ascending.
  const std::vector<int64_t>& kept() const { return kept_; }
  // [labels, T] bool: whether the label sees the feature; undefined where all see all.
  const core::Tensor& mask() const { return mask_; }
  // Bins of each feature; empty where the features are not discretized.
  std::vector<int64_t> bins() const;

  // Of all features [n, F], those that were selected, with their bins: [n, T].
  core::Table apply(const core::Table& table) const;
  // The bins of encoded values [n, T] that apply() made, or something derived from them.
  core::Tensor bins_of(const core::Tensor& values, const core::Tensor& missing) const;

  nlohmann::json to_json(const TableEncoder& encoder) const;
  // Throws core::InputError naming `file` where the content is not that of to_json() with this encoder.
  static TableSelection from_json(const nlohmann::json& json, const TableEncoder& encoder,
                                  const std::string& file);

 private:
  void encode_cuts(const TableEncoder& encoder);

  std::vector<int64_t> kept_;  // features of the encoder, ascending
  core::Tensor mask_;
  bool discretized_ = false;
  std::vector<std::vector<double>> cuts_;         // [T], in units of the column
  std::vector<std::vector<float>> encoded_cuts_;  // [T]
};

}  // namespace medfusion::data
