// ACC as MedMNIST's evaluator defines it (Yang et al., Scientific Data 2023), and the confusion matrix of
// labels of which exactly one is true.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/evaluation/measures/bootstrap.h"
#include "tools/evaluation/measures/evaluation.h"

namespace medfusion::tools {

// Where exactly one label is true, the share of rows whose most probable label is the true one (the first of
// equal ones). Else the share of rows in which a label is true where its probability is above 0.5 and only
// there, averaged over the labels. Rows of unknown labels do not count. {"value", "low", "high", "rule"}.
nlohmann::ordered_json overall_accuracy_json(const EvaluationInput& input, const PatientBootstrap& bootstrap);

// {"labels": names, "counts": for each true label the rows by their most probable one}.
nlohmann::ordered_json confusion_matrix_json(const EvaluationInput& input);

}  // namespace medfusion::tools
