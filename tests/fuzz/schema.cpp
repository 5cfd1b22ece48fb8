// schema.json: what is read must come back the same from what is written of it.
#include "data/schema.h"

#include "tests/fuzz/fuzz.h"
#include "tools/medfusion/config/text_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace medfusion;
  fuzz::accepts([&] {
    const auto json = tools::parse_json(std::string(fuzz::text_of({data, size})), "schema.json");
    const auto written = data::Schema::from_json(json, "schema.json").to_json();
    if (data::Schema::from_json(written, "schema.json").to_json() != written)
      fuzz::report("a schema does not come back: " + written.dump());
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  using namespace medfusion::fuzz;
  Choices choices(seed);
  const std::string changed = choices.one_in(3) ? "" : mutated_json(text_of({data, size}), choices);
  return stored({changed.begin(), changed.end()}, data, size, limit);
}
