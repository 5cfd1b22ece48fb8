// preprocessing.json with the words of the tokenizer, the encoder of the table, its selection, calibration
// and risk levels; then, behind a zero byte, texts and cells that are encoded by it, with zero bytes between
// them.
#include "data/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::fuzz {
namespace {

// Rows whose columns are those of the encoder, as numbers or as words.
data::Dataset rows_of(const tools::Preprocessing& preprocessing, const std::vector<std::string>& texts) {
  data::Dataset dataset;
  dataset.ids = dataset.patients = dataset.texts = texts;
  if (!preprocessing.table) return dataset;
  for (const std::string& name : preprocessing.table->column_names()) {
    data::Column column;
    column.name = name;
    column.numeric = dataset.columns.size() % 2 == 0;
    if (column.numeric) {
      for (size_t row = 0; row < texts.size(); ++row)
        column.numbers.push_back(static_cast<double>(row) * 1e3);
    } else {
      column.categories = texts;
    }
    dataset.columns.push_back(std::move(column));
  }
  return dataset;
}

void check_words(const std::string& text) {
  for (const std::string& word : data::split_words(text)) {
    if (word.empty()) report("an empty word");
    if (data::split_words(word) != std::vector{word})
      report("the word '" + word + "' is not its own only word");
  }
  data::split_words(text, data::WordRules::ascii);
}

}  // namespace
}  // namespace medfusion::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace medfusion;
  const std::vector<std::string_view> pieces = fuzz::pieces_of({data, size});
  const std::vector<std::string> texts(pieces.begin() + 1, pieces.end());
  for (const std::string& text : texts) fuzz::check_words(text);
  fuzz::accepts([&] {
    const auto json = tools::parse_json(std::string(pieces.front()), "preprocessing.json");
    const auto preprocessing = tools::Preprocessing::from_json(json, "preprocessing.json");
    const auto written = preprocessing.to_json();
    if (tools::Preprocessing::from_json(written, "preprocessing.json").to_json() != written)
      fuzz::report("preprocessing does not come back: " + written.dump());
    if (!texts.empty()) preprocessing.encode(fuzz::rows_of(preprocessing, texts));
    for (const tools::Calibrator& calibrator : preprocessing.calibration) {
      for (const double logit : {-1e300, -1.0, 0.0, 0.5, 1e300}) calibrator.apply(logit);
    }
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  using namespace medfusion::fuzz;
  Choices choices(seed);
  const std::string_view json = pieces_of({data, size}).front();
  std::string changed = choices.one_in(3) ? "" : mutated_json(json, choices);
  if (changed.empty()) return LLVMFuzzerMutate(data, size, limit);
  changed.append(reinterpret_cast<const char*>(data) + json.size(), size - json.size());
  return stored({changed.begin(), changed.end()}, data, size, limit);
}
