#include "data/table/table_selection.h"

#include <algorithm>
#include <map>
#include <set>

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;

// Copies the columns `kept` of source [n, F].
template <class T>
Tensor gather_columns(const Tensor& source, const std::vector<int64_t>& kept) {
  const int64_t rows = source.size(0), width = source.size(1);
  const auto count = static_cast<int64_t>(kept.size());
  Tensor result = Tensor::empty({rows, count}, source.dtype());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < count; ++i)
      result.data<T>()[row * count + i] = source.data<T>()[row * width + kept[static_cast<size_t>(i)]];
  }
  return result;
}

}  // namespace

TableSelection TableSelection::selected(const StageOne& stage, const TableEncoder& encoder) {
  std::map<int64_t, std::set<size_t>> labels_of;  // of each feature, who selected it
  std::map<int64_t, std::set<double>> cuts_of;
  for (size_t l = 0; l < stage.labels.size(); ++l) {
    for (size_t c = 0; c < stage.candidates.size(); ++c) {
      const FeatureResult& result = stage.results[l][c];
      if (!result.selected) continue;
      for (const int64_t feature : stage.candidates[c].features) {
        labels_of[feature].insert(l);
        cuts_of[feature].insert(result.cuts.begin(), result.cuts.end());
      }
    }
  }
  TableSelection selection;
  selection.discretized_ = stage.options.discretize != Discretization::none;
  for (const auto& [feature, labels] : labels_of) {
    selection.kept_.push_back(feature);
    selection.cuts_.emplace_back(cuts_of[feature].begin(), cuts_of[feature].end());
  }
  const int64_t count = selection.features();
  selection.mask_ = Tensor::zeros({static_cast<int64_t>(stage.labels.size()), count}, DType::boolean);
  for (int64_t i = 0; i < count; ++i) {
    for (const size_t label : labels_of.at(selection.kept_[static_cast<size_t>(i)]))
      selection.mask_.data<bool>()[static_cast<int64_t>(label) * count + i] = true;
  }
  selection.encode_cuts(encoder);
  return selection;
}

TableSelection TableSelection::all(const StageOne& stage, const TableEncoder& encoder) {
  TableSelection selection;
  selection.discretized_ = stage.options.discretize != Discretization::none;
  std::vector<std::set<double>> cuts(static_cast<size_t>(encoder.features()));
  for (const auto& results : stage.results) {
    for (size_t c = 0; c < stage.candidates.size(); ++c) {
      const auto feature = static_cast<size_t>(stage.candidates[c].features.front());
      cuts[feature].insert(results[c].cuts.begin(), results[c].cuts.end());
    }
  }
  for (int64_t feature = 0; feature < encoder.features(); ++feature) {
    const auto& of_feature = cuts[static_cast<size_t>(feature)];
    selection.kept_.push_back(feature);
    selection.cuts_.emplace_back(of_feature.begin(), of_feature.end());
  }
  selection.encode_cuts(encoder);
  return selection;
}

void TableSelection::encode_cuts(const TableEncoder& encoder) {
  encoded_cuts_.clear();
  for (size_t i = 0; i < kept_.size(); ++i) {
    auto& cuts = encoded_cuts_.emplace_back();
    for (const double cut : cuts_[i]) cuts.push_back(encoder.encoded(kept_[i], cut));
  }
}

std::vector<std::string> TableSelection::feature_names(const TableEncoder& encoder) const {
  std::vector<std::string> names;
  for (const int64_t feature : kept_) names.push_back(encoder.feature_names()[static_cast<size_t>(feature)]);
  return names;
}

std::vector<int64_t> TableSelection::bins() const {
  std::vector<int64_t> counts;
  if (!discretized_) return counts;
  for (const auto& cuts : cuts_) counts.push_back(static_cast<int64_t>(cuts.size()) + 1);
  return counts;
}

core::Table TableSelection::apply(const core::Table& table) const {
  core::Table result{
      gather_columns<float>(table.values, kept_), gather_columns<bool>(table.missing, kept_), {}};
  if (discretized_) result.bins = bins_of(result.values, result.missing);
  return result;
}

Tensor TableSelection::bins_of(const Tensor& values, const Tensor& missing) const {
  MEDFUSION_CHECK(values.rank() == 2 && values.size(1) == features() && missing.shape() == values.shape(),
                  "TableSelection: expected values and missing cells [n, {}], got {} and {}", features(),
                  values.shape().str(), missing.shape().str());
  Tensor bins = Tensor::zeros(values.shape(), DType::i64);
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (missing.data<bool>()[i]) continue;
    const auto& cuts = encoded_cuts_[static_cast<size_t>(i % features())];
    bins.data<int64_t>()[i] =
        std::upper_bound(cuts.begin(), cuts.end(), values.data<float>()[i]) - cuts.begin();
  }
  return bins;
}

nlohmann::json TableSelection::to_json(const TableEncoder& encoder) const {
  nlohmann::json json;
  json["features"] = feature_names(encoder);
  json["discretized"] = discretized_;
  if (discretized_) json["cuts"] = cuts_;
  if (mask_.defined()) {
    json["mask"] = nlohmann::json::array();
    for (int64_t l = 0; l < mask_.size(0); ++l) {
      nlohmann::json seen = nlohmann::json::array();
      for (int64_t i = 0; i < features(); ++i) {
        if (mask_.data<bool>()[l * features() + i]) seen.push_back(i);
      }
      json["mask"].push_back(seen);
    }
  }
  return json;
}

TableSelection TableSelection::from_json(const nlohmann::json& json, const TableEncoder& encoder,
                                         const std::string& file) {
  TableSelection selection;
  try {
    const auto& names = encoder.feature_names();
    for (const auto& name : json.at("features").get<std::vector<std::string>>()) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        core::throw_input_error({file}, "expected features of the table, got '{}'", name);
      }
      selection.kept_.push_back(found - names.begin());
    }
    selection.discretized_ = json.at("discretized").get<bool>();
    selection.cuts_.resize(selection.kept_.size());
    if (selection.discretized_) selection.cuts_ = json.at("cuts").get<std::vector<std::vector<double>>>();
    bool fits = selection.cuts_.size() == selection.kept_.size();
    for (const auto& cuts : selection.cuts_) fits = fits && std::is_sorted(cuts.begin(), cuts.end());
    if (!fits) core::throw_input_error({file}, "expected ascending cuts for each feature");
    if (json.contains("mask")) {
      const auto seen = json.at("mask").get<std::vector<std::vector<nlohmann::json>>>();
      selection.mask_ =
          Tensor::zeros({static_cast<int64_t>(seen.size()), selection.features()}, DType::boolean);
      for (size_t l = 0; l < seen.size(); ++l) {
        for (const nlohmann::json& place : seen[l]) {
          const auto i = place.get_ref<const int64_t&>();  // no fraction
          if (i < 0 || i >= selection.features())
            core::throw_input_error({file}, "expected a feature below {}, got {}", selection.features(), i);
          selection.mask_.data<bool>()[static_cast<int64_t>(l) * selection.features() + i] = true;
        }
      }
    }
  } catch (const nlohmann::json::exception& error) {
    core::throw_input_error({file}, "expected the selected features: {}", error.what());
  }
  selection.encode_cuts(encoder);
  return selection;
}

}  // namespace medfusion::data
