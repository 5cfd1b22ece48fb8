// predictions.csv, as eval and cv write it and compare and report read it.
#include "tests/fuzz/fuzz.h"
#include "tools/evaluation/measures/predictions_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace medfusion;
  fuzz::accepts([&] {
    const tools::PredictionsFile file = tools::read_predictions(fuzz::file_of({data, size}));
    const size_t rows = file.ids.size();
    if (file.input.patients.size() != rows) fuzz::report("patients that are not one for each row");
    for (const tools::LabelPredictions& label : file.input.labels) {
      if (label.probabilities.size() != rows || label.targets.size() != rows)
        fuzz::report("values that are not one for each row");
    }
  });
  return 0;
}
