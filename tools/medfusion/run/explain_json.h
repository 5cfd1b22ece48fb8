// Explanations as JSON; docs/explain.md has the form.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/evaluation/explain/explain.h"
#include "tools/evaluation/explain/localization.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// Probabilities of logits [n, labels], calibrated where the run has a calibration.
core::Tensor probabilities_of(const core::Tensor& logits, const TrainedRun& run);

// Rounded to six decimals; null where it is not finite.
nlohmann::ordered_json number(double value);

// One label of one sample of a batch: probability, contributions, attention, branches. `text` is the
// sample's, empty where there is none.
nlohmann::ordered_json label_json(const Explanation& explanation, int64_t sample, int64_t label,
                                  const TrainedRun& run, const std::string& text);

// Sums of attention over samples, for the averages of explain.json.
class AttentionAverage {
 public:
  void add(const Explanation& explanation, int64_t samples);
  nlohmann::ordered_json to_json(
      const std::vector<std::string>& labels) const;  // null where nothing was added

 private:
  int64_t samples_ = 0;
  std::vector<layers::Trace::Tokens> tokens_;
  std::vector<std::vector<double>> rows_;  // per encoder layer and the rollout last: [L, S]
  int64_t labels_ = 0, width_ = 0;
};

nlohmann::ordered_json localization_json(const std::vector<LocalizationScore>& scores,
                                         const std::vector<LocalizationCase>& cases);

}  // namespace medfusion::tools
